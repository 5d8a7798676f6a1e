//! A ring event becomes the first word about a flow.

use weir_datapath::abi::{self, Event, EventKind};
use weir_flow::{
    Counts, Direction, EndReason, Icmp, Item, Record, RecordKind, Tally, TcpFlags, Verdict,
};

use super::draft::{self, Facts};
use super::sweep::Reading;
use super::{Assembler, Tuple, WallClock, event_address};

impl Assembler {
    /// Turns a doorbell into a record. Unknown kinds (of a newer kernel side) are left to the sweep.
    pub fn event(&mut self, event: &Event, clock: &WallClock, out: &mut impl FnMut(Item)) {
        const STARTED: u8 = EventKind::Started as u8;
        const REPLACED: u8 = EventKind::Replaced as u8;
        const REJUDGED: u8 = EventKind::Rejudged as u8;
        const DENIED: u8 = EventKind::Denied as u8;
        match event.kind {
            STARTED => self.begin(event, RecordKind::Started, clock, out),
            DENIED => self.begin(event, RecordKind::Denial, clock, out),
            REPLACED => self.replaced(event, clock, out),
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
        // The sweep was quicker and has said it, or will say what is new. What an earlier run left in the ring is in a
        // table, which the first turn sweeps first, or has ended since, and is told of by its end.
        if self.tracked.contains_key(&event.serial) || event.time_ns < self.started_ns {
            return;
        }
        let facts = facts(event);
        let mut record = self.draft(&facts, kind, clock);
        let (egress, ingress) = (tally(event.egress, 0), tally(event.ingress, 0));
        record.counts = match kind {
            RecordKind::Denial => Counts {
                egress_dropped: egress,
                ingress_dropped: ingress,
                ..Counts::default()
            },
            _ => Counts {
                egress,
                ingress,
                ..Counts::default()
            },
        };
        let flags = event.tcp_flags as u8;
        record.tcp_flags = match facts.direction {
            Direction::Egress => TcpFlags {
                egress: flags,
                ingress: 0,
            },
            Direction::Ingress => TcpFlags {
                egress: 0,
                ingress: flags,
            },
        };
        self.say(record, facts.judged(), clock, out);
    }

    /// The tuple began anew: the last word about the flow that had it, which is in no table any more.
    fn replaced(&mut self, event: &Event, clock: &WallClock, out: &mut impl FnMut(Item)) {
        let [egress_dropped, ingress_dropped] = event.dropped;
        let reading = Reading {
            counts: Counts {
                egress: tally(event.egress, event.extra[0]),
                ingress: tally(event.ingress, event.extra[1]),
                egress_dropped: tally(egress_dropped, 0),
                ingress_dropped: tally(ingress_dropped, 0),
            },
            tcp_flags: TcpFlags {
                egress: event.tcp_flags as u8,
                ingress: (event.tcp_flags >> 8) as u8,
            },
            last_seen: event.last_seen,
        };
        self.finish(&facts(event), &reading, EndReason::Reused, clock, out);
    }

    fn rejudge(&mut self, event: &Event, clock: &WallClock, out: &mut impl FnMut(Item)) {
        let facts = facts(event);
        // Otherwise the sweep was quicker, or will be the first to tell of this flow.
        let Some(before) = self.tracked.get(&event.serial) else {
            return;
        };
        if before.judged == facts.judged() {
            return;
        }
        let (first_seen, counts) = (before.record.first_seen, before.record.counts);
        let tcp_flags = before.record.tcp_flags;
        let record = Record {
            first_seen,
            counts,
            tcp_flags,
            last_seen: clock.monotonic(event.time_ns),
            ..self.draft(&facts, RecordKind::Rejudged, clock)
        };
        self.say(record, facts.judged(), clock, out);
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
