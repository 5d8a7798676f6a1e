//! The first draft of a record: names for the numbers that the kernel stored with the verdict.

use weir_datapath::abi::{self, Denial, Flow, flow_state};
use weir_flow::{Counts, Direction, FlowId, Reason, Record, RecordKind, Tally, TcpFlags, Verdict};

use super::{Assembler, EntryKey, Tuple, WallClock};

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

/// The kernel's reason as a record's. The names are the same; a number of a newer schema cannot occur, because the
/// schema is part of the pin path.
pub fn reason(number: u8) -> Reason {
    abi::Reason::from_u8(number)
        .and_then(|reason| Reason::parse(reason.as_str()))
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

impl Assembler {
    /// Names everything the facts hold. Allocates nothing but the nearest miss of a new default deny.
    pub(super) fn draft(&mut self, facts: &Facts, kind: RecordKind, clock: &WallClock) -> Record {
        let Tuple {
            endpoint,
            protocol,
            local_ip,
            remote_ip,
            local_port,
            remote_port,
            icmp,
            ethertype,
        } = facts.tuple;
        let first_seen = clock.monotonic(facts.first_seen_ns);
        let local = self.names.local(endpoint);
        let is_service = facts.state & flow_state::SERVICE != 0;
        let reason = reason(facts.reason);
        let port = if facts.direction == Direction::Ingress {
            local_port
        } else {
            remote_port
        };
        let nearest_miss = match reason {
            Reason::DefaultDeny => {
                self.misses
                    .nearest_miss(endpoint, facts.direction, remote_ip, protocol, port)
            }
            _ => None,
        };
        Record {
            time: clock.now(),
            id: FlowId {
                boot: self.run.boot,
                serial: facts.serial,
            },
            number: 0,
            kind,
            first_seen,
            last_seen: first_seen,
            node: self.run.node.clone(),
            remote: self.names.address(remote_ip, first_seen),
            service: if is_service {
                self.names.service(remote_ip, protocol, remote_port)
            } else {
                None
            },
            local: local.endpoint,
            local_ip,
            remote_ip,
            local_port,
            remote_port,
            icmp,
            protocol,
            direction: facts.direction,
            verdict: facts.verdict,
            reason,
            rule: self.names.rule(facts.rule),
            isolated_by: self.names.policies(facts.set),
            nearest_miss,
            revision: self.names.revision(facts.epoch),
            mode: local.mode,
            counts: Counts::default(),
            tcp_flags: TcpFlags::default(),
            end: None,
            source_nat_suspected: facts.state & flow_state::SOURCE_NAT_SUSPECTED != 0,
            ethertype,
        }
    }
}
