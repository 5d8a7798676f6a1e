//! A table entry, met in a sweep or read for the last time, becomes the next word about its flow.

use weir_datapath::abi::{Denial, Flow};
use weir_flow::{Counts, EndReason, Item, Record, RecordKind, TcpFlags};

use super::draft::{Facts, denial_counts, flow_counts};
use super::{Assembler, EntryKey, Pressure, WallClock};

/// What is to become of an entry that a sweep met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It lives.
    Keep,
    /// It has ended: mark it retired, wait a grace time, read it again, hand it to `retired_*`, delete it.
    Retire(EndReason),
}

/// An entry as a record needs it: counts, flags, last packet.
pub(super) struct Reading {
    pub(super) counts: Counts,
    pub(super) tcp_flags: TcpFlags,
    /// Jiffies.
    pub(super) last_seen: u64,
}

impl Assembler {
    /// Marks the beginning of a sweep. What two sweeps have not met is forgotten.
    pub fn begin_sweep(&mut self) {
        self.generation += 1;
        let generation = self.generation;
        self.tracked
            .retain(|tracked| tracked.generation + 2 >= generation);
    }

    /// A flow entry as the sweep found it.
    pub fn flow(
        &mut self,
        key: &EntryKey,
        flow: &Flow,
        clock: &WallClock,
        pressure: Pressure,
        out: &mut impl FnMut(Item),
    ) -> Disposition {
        let reading = read_flow(flow);
        self.meet(
            &Facts::of_flow(key, flow),
            &reading,
            RecordKind::Started,
            clock,
            out,
        );
        if self.gone.contains(&key.endpoint()) {
            return Disposition::Retire(EndReason::EndpointGone);
        }
        let protocol = key.tuple().protocol;
        match self
            .timeouts
            .ended(flow, protocol, clock.idle_ns(flow.last_seen), pressure)
        {
            Some(reason) => Disposition::Retire(reason),
            None => Disposition::Keep,
        }
    }

    /// A denial entry as the sweep found it.
    pub fn denial(
        &mut self,
        key: &EntryKey,
        denial: &Denial,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) -> Disposition {
        if denial.dropped.packets == 0 {
            // An overflow entry that was never needed.
            return if self.gone.contains(&key.endpoint()) {
                Disposition::Retire(EndReason::EndpointGone)
            } else {
                Disposition::Keep
            };
        }
        let facts = Facts::of_denial(key, denial);
        let reading = Reading {
            counts: denial_counts(denial, facts.direction),
            tcp_flags: TcpFlags::default(),
            last_seen: denial.last_seen,
        };
        self.meet(&facts, &reading, RecordKind::Denial, clock, out);
        if self.gone.contains(&key.endpoint()) {
            return Disposition::Retire(EndReason::EndpointGone);
        }
        let is_idle =
            u128::from(clock.idle_ns(denial.last_seen)) >= self.timeouts.denied.as_nanos();
        if is_idle && !key.is_overflow() {
            Disposition::Retire(EndReason::Idle)
        } else {
            Disposition::Keep
        }
    }

    /// The last reading of a retired flow entry: nothing can be added to it any more.
    pub fn retired_flow(
        &mut self,
        key: &EntryKey,
        flow: &Flow,
        why: EndReason,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        let reading = read_flow(flow);
        self.finish(&Facts::of_flow(key, flow), &reading, why, clock, out);
    }

    /// The last reading of a retired denial entry.
    pub fn retired_denial(
        &mut self,
        key: &EntryKey,
        denial: &Denial,
        why: EndReason,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        if denial.dropped.packets == 0 {
            return;
        }
        let facts = Facts::of_denial(key, denial);
        let reading = Reading {
            counts: denial_counts(denial, facts.direction),
            tcp_flags: TcpFlags::default(),
            last_seen: denial.last_seen,
        };
        self.finish(&facts, &reading, why, clock, out);
    }

    /// Says what is new about a living entry: that it is there, that its verdict is another, whose it is, or that its
    /// counts have grown for an interval.
    fn meet(
        &mut self,
        facts: &Facts,
        reading: &Reading,
        first: RecordKind,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        let (interval, changed, grown) = match first {
            RecordKind::Denial => (
                self.intervals.denial,
                RecordKind::Denial,
                RecordKind::Denial,
            ),
            _ => (
                self.intervals.update,
                RecordKind::Rejudged,
                RecordKind::Updated,
            ),
        };
        let generation = self.generation;
        let judged = facts.judged();
        let Some(tracked) = self.tracked.get_mut(facts.serial) else {
            let adopted = facts.first_seen_ns < self.started_ns;
            let kind = if adopted { grown } else { first };
            let record = apply(self.draft(facts, kind, clock), reading, clock);
            return self.say(record, judged, clock, out);
        };
        tracked.generation = generation;
        let is_judged_anew = tracked.judged != judged; // its doorbell found the ring full
        if is_judged_anew || tracked.is_named_since(facts, &self.names) {
            let first_seen = tracked.record.first_seen;
            let kind = if is_judged_anew { changed } else { grown };
            let record = Record {
                first_seen,
                ..self.draft(facts, kind, clock)
            };
            return self.say(apply(record, reading, clock), judged, clock, out);
        }
        let since_last = clock.monotonic_ns.saturating_sub(tracked.said_ns);
        if tracked.record.counts == reading.counts || u128::from(since_last) < interval.as_nanos() {
            return;
        }
        let record = Record {
            time: clock.now(),
            kind: grown,
            ..tracked.record.clone()
        };
        self.say(apply(record, reading, clock), judged, clock, out);
    }

    /// The last word about a flow or denial.
    pub(super) fn finish(
        &mut self,
        facts: &Facts,
        reading: &Reading,
        why: EndReason,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        let draft = match self.tracked.get(facts.serial) {
            Some(tracked)
                if tracked.judged == facts.judged()
                    && !tracked.is_named_since(facts, &self.names) =>
            {
                tracked.record.clone()
            }
            _ => self.draft(facts, RecordKind::Ended, clock),
        };
        let record = Record {
            time: clock.now(),
            kind: RecordKind::Ended,
            end: Some(why),
            ..draft
        };
        self.say(apply(record, reading, clock), facts.judged(), clock, out);
        self.tracked.remove(facts.serial);
    }
}

fn read_flow(flow: &Flow) -> Reading {
    let tcp_flags = TcpFlags {
        egress: flow.tcp_flags as u8,
        ingress: (flow.tcp_flags >> 16) as u8,
    };
    Reading {
        counts: flow_counts(flow),
        tcp_flags,
        last_seen: flow.last_seen,
    }
}

fn apply(record: Record, reading: &Reading, clock: &WallClock) -> Record {
    let last_seen = clock.jiffies(reading.last_seen).max(record.first_seen);
    let flags = record.tcp_flags;
    let tcp_flags = TcpFlags {
        egress: flags.egress | reading.tcp_flags.egress,
        ingress: flags.ingress | reading.tcp_flags.ingress,
    };
    Record {
        counts: reading.counts,
        tcp_flags,
        last_seen,
        ..record
    }
}
