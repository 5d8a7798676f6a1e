//! The first draft of a record: names for the numbers that the kernel stored with the verdict.

use std::sync::Arc;

use weir_datapath::abi::{self, Denial, Flow, flow_state};
use weir_flow::{
    Counts, Direction, Endpoint, FlowId, PolicyRef, Reason, Record, RecordKind, Rule, ServiceRef,
    Tally, TcpFlags, Verdict,
};

use super::{Assembler, EntryKey, NearestMiss, Run, Tuple, WallClock};
use crate::names::{LocalEndpoint, Lookup};

/// What the kernel knows about a verdict, from a doorbell or from a table entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) tuple: Tuple,
    pub(super) serial: u64,
    /// The direction that was judged.
    pub(super) direction: Direction,
    pub(super) verdict: Verdict,
    pub(super) reason: u8,
    pub(super) rule: u32,
    pub(super) set: u32,
    pub(super) epoch: u32,
    /// [`flow_state`] bits.
    pub(super) state: u32,
    pub(super) first_seen_ns: u64,
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    verdict: Verdict,
    reason: u8,
    rule: u32,
}

impl Facts {
    /// The verdict. A later one that is the same is no news.
    pub(super) fn judged(&self) -> Judged {
        Judged {
            verdict: self.verdict,
            reason: self.reason,
            rule: self.rule,
        }
    }

    /// The facts of a flow entry.
    pub(super) fn of_flow(key: &EntryKey, flow: &Flow) -> Self {
        Self {
            tuple: key.tuple(),
            serial: flow.serial,
            direction: if flow.state & flow_state::OPENED_BY_REMOTE != 0 {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            verdict: verdict(flow.state),
            reason: flow.reason as u8,
            rule: flow.rule,
            set: flow.set,
            epoch: flow.epoch,
            state: flow.state,
            first_seen_ns: flow.first_seen_ns,
        }
    }

    /// The facts of a denial entry.
    pub(super) fn of_denial(key: &EntryKey, denial: &Denial) -> Self {
        let (direction, reason) = match key {
            EntryKey::Denial4(key) => (key.direction, key.reason),
            EntryKey::Denial6(key) => (key.direction, key.reason),
            EntryKey::Flow4(_) | EntryKey::Flow6(_) => (0, 0),
        };
        Self {
            tuple: key.tuple(),
            serial: denial.serial,
            direction: self::direction(direction),
            verdict: Verdict::Dropped,
            reason,
            rule: denial.rule,
            set: denial.set,
            epoch: denial.epoch,
            state: denial.state,
            first_seen_ns: denial.first_seen_ns,
        }
    }
}

/// The kernel's direction as a record's.
pub fn direction(number: u8) -> Direction {
    if number == abi::Direction::Egress as u8 {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

fn verdict(state: u32) -> Verdict {
    match (
        state & flow_state::AUDIT != 0,
        state & flow_state::DENIED != 0,
    ) {
        (true, _) => Verdict::Audit,
        (false, true) => Verdict::Dropped,
        (false, false) => Verdict::Forwarded,
    }
}

/// The kernel's reason as a record's: both are in the same order, the kernel's count from 1. A number of a newer schema
/// cannot occur, because the schema is part of the pin path.
pub fn reason(number: u8) -> Reason {
    let index = usize::from(number).checked_sub(1);
    index
        .and_then(|index| Reason::ALL.get(index).copied())
        .unwrap_or(Reason::DefaultDeny)
}

/// What a flow entry has counted since its incarnation began.
pub(super) fn flow_counts(flow: &Flow) -> Counts {
    let since = |now: abi::Tally, base: abi::Tally, extra: u64, base_extra: u64| {
        let packets = now.packets.wrapping_sub(base.packets);
        let segments = packets + extra.wrapping_sub(base_extra);
        Tally {
            packets,
            bytes: now.bytes.wrapping_sub(base.bytes),
            segments,
        }
    };
    Counts {
        egress: since(
            flow.egress,
            flow.base_egress,
            flow.egress_extra_segments,
            flow.base_segments[0],
        ),
        ingress: since(
            flow.ingress,
            flow.base_ingress,
            flow.ingress_extra_segments,
            flow.base_segments[1],
        ),
        egress_dropped: since(flow.egress_dropped, flow.base_egress_dropped, 0, 0),
        ingress_dropped: since(flow.ingress_dropped, flow.base_ingress_dropped, 0, 0),
    }
}

/// What a denial entry has counted.
pub(super) fn denial_counts(denial: &Denial, direction: Direction) -> Counts {
    let tally = Tally {
        packets: denial.dropped.packets,
        bytes: denial.dropped.bytes,
        segments: denial.dropped.packets + denial.extra_segments,
    };
    match direction {
        Direction::Egress => Counts {
            egress_dropped: tally,
            ..Counts::default()
        },
        Direction::Ingress => Counts {
            ingress_dropped: tally,
            ..Counts::default()
        },
    }
}

/// The names of what facts hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    local: &'a LocalEndpoint,
    remote: &'a Arc<Endpoint>,
    service: Option<&'a Arc<ServiceRef>>,
    rule: &'a Arc<Rule>,
    isolated_by: &'a Arc<[PolicyRef]>,
    revision: u64,
}

impl<'a> Found<'a> {
    pub(super) fn of(facts: &Facts, names: &'a Lookup<'_>, clock: &WallClock) -> Self {
        let Tuple {
            endpoint,
            protocol,
            remote_ip,
            remote_port,
            ..
        } = facts.tuple;
        let is_service = facts.state & flow_state::SERVICE != 0;
        Self {
            local: names.local(endpoint),
            remote: names.address(remote_ip, clock.monotonic(facts.first_seen_ns)),
            service: if is_service {
                names.service(remote_ip, protocol, remote_port)
            } else {
                None
            },
            rule: names.rule(facts.rule),
            isolated_by: names.policies(facts.set),
            revision: names.revision(facts.epoch),
        }
    }

    /// Reads the reference counts that a record increments. Their sum means nothing.
    pub(super) fn touch(&self) -> usize {
        Arc::strong_count(&self.local.endpoint)
            + Arc::strong_count(self.remote)
            + Arc::strong_count(self.rule)
            + Arc::strong_count(self.isolated_by)
    }
}

/// What a first record is made of.
#[derive(Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) run: &'a Run,
    pub(super) facts: &'a Facts,
    pub(super) found: Found<'a>,
    pub(super) kind: RecordKind,
    pub(super) clock: &'a WallClock,
    pub(super) counts: Counts,
    pub(super) tcp_flags: TcpFlags,
}

impl Draft<'_> {
    /// Allocates nothing.
    #[inline(always)] // made where it is to stay: a record that is moved is copied at once after it was written
    pub(super) fn record(&self, reason: Reason, nearest_miss: Option<Arc<str>>) -> Record {
        let Self {
            run, facts, found, ..
        } = self;
        let first_seen = self.clock.monotonic(facts.first_seen_ns);
        Record {
            time: self.clock.now(),
            id: FlowId {
                boot: run.boot,
                serial: facts.serial,
            },
            number: run.first_number(),
            kind: self.kind,
            first_seen,
            last_seen: first_seen,
            node: run.node.clone(),
            local: found.local.endpoint.clone(),
            remote: found.remote.clone(),
            service: found.service.cloned(),
            local_ip: facts.tuple.local_ip,
            remote_ip: facts.tuple.remote_ip,
            local_port: facts.tuple.local_port,
            remote_port: facts.tuple.remote_port,
            icmp: facts.tuple.icmp,
            protocol: facts.tuple.protocol,
            direction: facts.direction,
            verdict: facts.verdict,
            reason,
            rule: found.rule.clone(),
            isolated_by: found.isolated_by.clone(),
            nearest_miss,
            revision: found.revision,
            mode: found.local.mode,
            counts: self.counts,
            tcp_flags: self.tcp_flags,
            end: None,
            source_nat_suspected: facts.state & flow_state::SOURCE_NAT_SUSPECTED != 0,
            ethertype: facts.tuple.ethertype,
        }
    }
}

impl Facts {
    /// For a default deny: what came nearest to allowing it.
    pub(super) fn nearest_miss(&self, misses: &mut dyn NearestMiss) -> Option<Arc<str>> {
        if self.reason != abi::Reason::DefaultDeny as u8 {
            return None;
        }
        let Tuple {
            endpoint,
            protocol,
            remote_ip,
            local_port,
            remote_port,
            ..
        } = self.tuple;
        let port = match self.direction {
            Direction::Ingress => local_port,
            Direction::Egress => remote_port,
        };
        misses.nearest_miss(endpoint, self.direction, remote_ip, protocol, port)
    }
}

impl Assembler {
    /// Names everything the facts hold; without counts.
    pub(super) fn draft(&mut self, facts: &Facts, kind: RecordKind, clock: &WallClock) -> Record {
        let nearest_miss = facts.nearest_miss(&mut *self.misses);
        let names = self.names.read();
        let draft = Draft {
            run: &self.run,
            facts,
            found: Found::of(facts, &names, clock),
            kind,
            clock,
            counts: Counts::default(),
            tcp_flags: TcpFlags::default(),
        };
        draft.record(reason(facts.reason), nearest_miss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_kernel_keeps_its_name() {
        for kernel in abi::Reason::ALL {
            assert_eq!(reason(*kernel as u8).as_str(), kernel.as_str());
        }
        assert_eq!(reason(0), Reason::DefaultDeny);
        assert_eq!(reason(u8::MAX), Reason::DefaultDeny);
    }
}
