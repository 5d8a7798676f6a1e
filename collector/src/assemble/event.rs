//! A ring event becomes the first word about a flow.

use weir_datapath::abi::{self, Event, EventKind};
use weir_flow::{
    Counts, Direction, EndReason, FlowId, Icmp, Item, Record, RecordKind, Tally, TcpFlags, Verdict,
};

use super::draft::{self, Facts};
use super::{Assembler, Tuple, WallClock, event_address};

impl Assembler {
    /// Turns a doorbell into a record. Unknown kinds (of a newer kernel side) are left to the sweep.
    pub fn event(&mut self, event: &Event, clock: &WallClock, out: &mut impl FnMut(Item)) {
        const STARTED: u8 = EventKind::Started as u8;
        const REUSED: u8 = EventKind::Reused as u8;
        const REJUDGED: u8 = EventKind::Rejudged as u8;
        const DENIED: u8 = EventKind::Denied as u8;
        match event.kind {
            STARTED => self.begin(event, RecordKind::Started, clock, out),
            DENIED => self.begin(event, RecordKind::Denial, clock, out),
            REUSED => {
                self.end_reused(event, clock, out);
                self.begin(event, RecordKind::Started, clock, out);
            }
            REJUDGED => self.rejudge(event, clock, out),
            // `Ended` needs no word of its own: the sweep reads the final counts once late packets have come in.
            _ => {}
        }
    }

    fn begin(
        &mut self,
        event: &Event,
        kind: RecordKind,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        if self.tracked.contains_key(&event.serial) {
            // The sweep was quicker and has said it.
            return;
        }
        let facts = facts(event);
        let mut record = self.draft(&facts, kind, clock);
        record.counts = match (kind, facts.direction) {
            (RecordKind::Denial, Direction::Egress) => Counts {
                egress_dropped: first(event.extra),
                ..Counts::default()
            },
            (RecordKind::Denial, Direction::Ingress) => Counts {
                ingress_dropped: first(event.extra),
                ..Counts::default()
            },
            (_, Direction::Egress) => Counts {
                egress: first([event.egress.packets, event.egress.bytes]),
                ..Counts::default()
            },
            (_, Direction::Ingress) => Counts {
                ingress: first([event.ingress.packets, event.ingress.bytes]),
                ..Counts::default()
            },
        };
        if kind == RecordKind::Started && event.kind == EventKind::Reused as u8 {
            // The event's counts are the old incarnation's; the new one has none yet that the sweep will not tell.
            record.counts = Counts::default();
        }
        record.tcp_flags = match facts.direction {
            Direction::Egress => TcpFlags {
                egress: event.tcp_flags as u8,
                ingress: 0,
            },
            Direction::Ingress => TcpFlags {
                egress: 0,
                ingress: event.tcp_flags as u8,
            },
        };
        self.say(record, out);
    }

    /// The tuple began anew: the old incarnation's totals are in the event.
    fn end_reused(&mut self, event: &Event, clock: &WallClock, out: &mut impl FnMut(Item)) {
        let old = FlowId {
            boot: self.run.boot,
            serial: event.other,
        };
        let Some(tracked) = self.tracked.get(&old.serial) else {
            return;
        };
        let mut record = Record {
            time: clock.now(),
            kind: RecordKind::Ended,
            end: Some(EndReason::Reused),
            ..tracked.record.clone()
        };
        record.last_seen = clock.monotonic(event.time_ns);
        record.counts.egress = tally(event.egress, event.extra[0]);
        record.counts.ingress = tally(event.ingress, event.extra[1]);
        self.say(record, out);
        self.tracked.remove(&old.serial);
    }

    fn rejudge(&mut self, event: &Event, clock: &WallClock, out: &mut impl FnMut(Item)) {
        let fresh = self.draft(&facts(event), RecordKind::Rejudged, clock);
        let record = match self.tracked.get(&event.serial) {
            Some(before) => Record {
                first_seen: before.record.first_seen,
                counts: before.record.counts,
                tcp_flags: before.record.tcp_flags,
                last_seen: clock.monotonic(event.time_ns),
                ..fresh
            },
            None => fresh,
        };
        self.say(record, out);
    }
}

fn first([packets, bytes]: [u64; 2]) -> Tally {
    Tally {
        packets,
        bytes,
        segments: packets,
    }
}

fn tally(tally: abi::Tally, extra: u64) -> Tally {
    Tally {
        packets: tally.packets,
        bytes: tally.bytes,
        segments: tally.packets + extra,
    }
}

fn facts(event: &Event) -> Facts {
    let is_icmp = matches!(event.protocol, abi::IPPROTO_ICMP | abi::IPPROTO_ICMPV6);
    let icmp = Icmp {
        kind: (event.remote_port >> 8) as u8,
        code: event.remote_port as u8,
    };
    Facts {
        tuple: Tuple {
            endpoint: event.endpoint,
            protocol: event.protocol,
            local_ip: event_address(event.family, event.local),
            remote_ip: event_address(event.family, event.remote),
            local_port: if is_icmp { 0 } else { event.local_port },
            remote_port: if is_icmp { 0 } else { event.remote_port },
            icmp: is_icmp.then_some(icmp),
            ethertype: u16::try_from(event.ethertype)
                .ok()
                .filter(|number| *number != 0),
        },
        serial: event.serial,
        direction: draft::direction(event.direction),
        verdict: match event.verdict {
            verdict if verdict == abi::Verdict::Deny as u8 => Verdict::Dropped,
            verdict if verdict == abi::Verdict::Audit as u8 => Verdict::Audit,
            _ => Verdict::Forwarded,
        },
        reason: event.reason,
        rule: event.rule,
        set: event.set,
        epoch: event.epoch,
        state: event.state,
        first_seen_ns: event.time_ns,
    }
}
