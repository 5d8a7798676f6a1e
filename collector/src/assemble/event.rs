//! A ring event becomes the first word about a flow.

use std::hint::black_box;
use std::iter;

use weir_datapath::abi::{self, Event, EventKind};
use weir_flow::{
    Counts, Direction, EndReason, Icmp, Item, Record, RecordKind, Tally, TcpFlags, Verdict,
};

use super::draft::{self, Draft, Facts, Found};
use super::sweep::Reading;
use super::tracked::Tracked;
use super::{Assembler, Tuple, WallClock, event_address};

/// Events that are looked up together.
const TOGETHER: usize = 16;

impl Assembler {
    /// Turns doorbells into records, in their order. Unknown kinds (of a newer kernel side) are left to the sweep.
    pub fn events(&mut self, events: &[Event], clock: &WallClock, out: &mut Vec<Item>) {
        for events in events.chunk_by(|a, b| !is_about_known(a) && !is_about_known(b)) {
            match events {
                [event] if is_about_known(event) => self.event(event, clock, out),
                _ => self.begin(events, clock, out),
            }
        }
    }

    /// Flows and denials that begin.
    ///
    /// Most of what they need has left the cores' caches since it was used last. So some are looked up together: their
    /// waits for memory overlap, those of one after another would add up. Each record is made twice, once for the
    /// stream and once to be tracked, each in its place: a copy of what was written just now would wait for that.
    fn begin(&mut self, events: &[Event], clock: &WallClock, out: &mut Vec<Item>) {
        for events in events.chunks(TOGETHER) {
            let names = self.names.read();
            let mut found = [None; TOGETHER];
            let mut touched = 0;
            for (event, found) in events.iter().zip(&mut found) {
                if first_kind(event).is_some() {
                    touched += usize::from(self.tracked.contains(event.serial));
                    *found = Some(Found::of(&facts(event), &names, clock));
                }
            }
            touched += found.iter().flatten().map(Found::touch).sum::<usize>();
            black_box(touched);
            for (event, found) in events.iter().zip(found) {
                let (Some(kind), Some(found)) = (first_kind(event), found) else {
                    continue;
                };
                // The sweep was quicker and has said it, or will say what is new. What an earlier run left in the ring
                // is in a table, which the first turn sweeps first, or has ended since, and is told of by its end.
                if self.tracked.contains(event.serial) || event.time_ns < self.started_ns {
                    continue;
                }
                let facts = facts(event);
                let nearest_miss = facts.nearest_miss(&mut *self.misses);
                let (counts, tcp_flags) = counted(event, kind, facts.direction);
                let draft = Draft {
                    run: &self.run,
                    facts: &facts,
                    found,
                    kind,
                    clock,
                    counts,
                    tcp_flags,
                };
                let (reason, said) = (draft::reason(facts.reason), nearest_miss.clone());
                out.extend(iter::once_with(|| Item::Flow(draft.record(reason, said))));
                self.tracked.add(event.serial, || Tracked {
                    record: draft.record(reason, nearest_miss),
                    judged: facts.judged(),
                    said_ns: clock.monotonic_ns,
                    generation: self.generation,
                });
            }
        }
    }

    /// What an event says about a flow that there was before.
    fn event(&mut self, event: &Event, clock: &WallClock, out: &mut Vec<Item>) {
        let out = &mut |item| out.push(item);
        if event.kind == EventKind::Replaced as u8 {
            self.replaced(event, clock, out);
        } else {
            self.rejudge(event, clock, out);
        }
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
        let Some(before) = self.tracked.get(event.serial) else {
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

/// Whether it is about a flow that there was before. `Ended` needs no word of its own: the sweep reads the final counts
/// once late packets have come in.
fn is_about_known(event: &Event) -> bool {
    event.kind == EventKind::Replaced as u8 || event.kind == EventKind::Rejudged as u8
}

/// What is said about a flow or denial that begins.
fn first_kind(event: &Event) -> Option<RecordKind> {
    const STARTED: u8 = EventKind::Started as u8;
    const DENIED: u8 = EventKind::Denied as u8;
    match event.kind {
        STARTED => Some(RecordKind::Started),
        DENIED => Some(RecordKind::Denial),
        _ => None,
    }
}

/// What the event of a flow or denial that begins has counted.
fn counted(event: &Event, kind: RecordKind, direction: Direction) -> (Counts, TcpFlags) {
    let (egress, ingress) = (tally(event.egress, 0), tally(event.ingress, 0));
    let counts = match kind {
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
    let tcp_flags = match direction {
        Direction::Egress => TcpFlags {
            egress: flags,
            ingress: 0,
        },
        Direction::Ingress => TcpFlags {
            egress: 0,
            ingress: flags,
        },
    };
    (counts, tcp_flags)
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
