//! What no record accounts for, said in the stream: loss = ledger − attributed.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_datapath::abi::{LedgerCount, LedgerKey, Reason, Tally, Verdict};
use weir_flow::{Item, LossPlace, LossRecord, Timestamp};

use super::WallClock;
use crate::names::Names;

/// Remembers what was already reported, because kernel counters only grow.
#[derive(Debug, Default)]
pub struct Losses {
    reported: HashMap<LedgerKey, Tally>,
    ledger_full: (u64, u64),
    since: Timestamp,
}

/// What was reported, in a form for the disk: a later run that adopts the maps must not report it again.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    lines: Vec<ReportedLine>,
    ledger_full: (u64, u64),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReportedLine {
    endpoint: u32,
    direction: u8,
    verdict: u8,
    reason: u8,
    packets: u64,
    bytes: u64,
}

impl Losses {
    /// Goes on where `reported` was taken. `since`: when what is reported next began at the earliest.
    pub fn resume(reported: &Reported, since: Timestamp) -> Self {
        let lines = reported.lines.iter().map(|line| {
            let key = LedgerKey {
                endpoint: line.endpoint,
                direction: line.direction,
                verdict: line.verdict,
                reason: line.reason,
                reserved: 0,
            };
            (
                key,
                Tally {
                    packets: line.packets,
                    bytes: line.bytes,
                },
            )
        });
        Self {
            reported: lines.collect(),
            ledger_full: reported.ledger_full,
            since,
        }
    }

    /// What was reported so far.
    pub fn reported(&self) -> Reported {
        let lines = self.reported.iter().map(|(key, tally)| ReportedLine {
            endpoint: key.endpoint,
            direction: key.direction,
            verdict: key.verdict,
            reason: key.reason,
            packets: tally.packets,
            bytes: tally.bytes,
        });
        Reported {
            lines: lines.collect(),
            ledger_full: self.ledger_full,
        }
    }

    /// A line was read for the last time and removed.
    pub fn forget(&mut self, key: &LedgerKey) {
        self.reported.remove(key);
    }

    /// Compares ledger readings (summed over CPUs) with what was reported, and emits the difference.
    pub fn ledger(
        &mut self,
        readings: &[(LedgerKey, LedgerCount)],
        names: &Names,
        node: &Arc<str>,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        for (key, count) in readings {
            let Some(place) = loss_place(key) else {
                continue;
            };
            let before = self.reported.insert(*key, count.tally).unwrap_or_default();
            let packets = count.tally.packets.wrapping_sub(before.packets);
            if packets == 0 {
                continue;
            }
            let local = names.read().local(key.endpoint).endpoint.clone();
            let endpoint: Arc<str> = format!("{}/{}", local.namespace, local.name).into();
            let bytes = count.tally.bytes.wrapping_sub(before.bytes);
            out(Item::Loss(self.loss(
                place,
                Some(endpoint),
                packets,
                bytes,
                node,
                clock,
            )));
        }
        self.since = clock.now();
    }

    /// Packets that the ledger itself had no room for (`Counter::LedgerFull`, `LedgerFullBytes`).
    pub fn ledger_full(
        &mut self,
        packets: u64,
        bytes: u64,
        node: &Arc<str>,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        let (before, before_bytes) = std::mem::replace(&mut self.ledger_full, (packets, bytes));
        if packets > before {
            let record = self.loss(
                LossPlace::Ledger,
                None,
                packets - before,
                bytes.wrapping_sub(before_bytes),
                node,
                clock,
            );
            out(Item::Loss(record));
        }
    }

    fn loss(
        &self,
        place: LossPlace,
        endpoint: Option<Arc<str>>,
        packets: u64,
        bytes: u64,
        node: &Arc<str>,
        clock: &WallClock,
    ) -> LossRecord {
        LossRecord {
            time: clock.now(),
            node: node.clone(),
            place,
            endpoint,
            records: 0,
            packets,
            bytes,
            from: self.since,
            to: clock.now(),
        }
    }
}

/// Where the packets of a ledger line were lost; `None` for named non-flow counters (ARP, neighbour discovery, ...).
pub fn loss_place(key: &LedgerKey) -> Option<LossPlace> {
    if key.verdict == Verdict::Deny as u8 {
        return None;
    }
    match Reason::from_u8(key.reason)? {
        Reason::TableFull => Some(LossPlace::FlowTable),
        Reason::EntryRetiring => Some(LossPlace::EntryRetiring),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_ledger_line_is_reported_once() {
        let key = LedgerKey {
            endpoint: 1,
            reason: Reason::TableFull as u8,
            ..LedgerKey::default()
        };
        let clock = WallClock {
            wall_ns: 10,
            monotonic_ns: 0,
            jiffies: 0,
            ns_per_jiffy: 1,
        };
        let (mut losses, names, node) = (Losses::default(), Names::default(), Arc::from("n"));
        let mut seen = Vec::new();
        for packets in [3, 3, 5] {
            let count = LedgerCount {
                tally: Tally {
                    packets,
                    bytes: packets * 100,
                },
                extra_segments: 0,
            };
            losses.ledger(&[(key, count)], &names, &node, &clock, &mut |item| {
                seen.push(item)
            });
        }
        let packets: Vec<u64> = seen
            .iter()
            .map(|item| match item {
                Item::Loss(loss) => loss.packets,
                Item::Flow(_) => 0,
            })
            .collect();
        assert_eq!(packets, [3, 2]);
        let mut later = Losses::resume(&losses.reported(), Timestamp(10));
        let count = LedgerCount {
            tally: Tally {
                packets: 9,
                bytes: 900,
            },
            extra_segments: 0,
        };
        let mut after_restart = Vec::new();
        later.ledger(&[(key, count)], &names, &node, &clock, &mut |item| {
            after_restart.push(item)
        });
        assert!(
            matches!(&after_restart[..], [Item::Loss(loss)] if loss.packets == 4 && loss.bytes == 400)
        );
    }
}
