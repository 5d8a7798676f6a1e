//! What no record accounts for, said in the stream: loss = ledger − attributed.

use std::collections::HashMap;
use std::sync::Arc;

use weir_datapath::abi::{LedgerCount, LedgerKey, Reason, Verdict};
use weir_flow::{Item, LossPlace, LossRecord, Timestamp};

use super::WallClock;
use crate::names::Names;

/// Remembers what was already reported, because kernel counters only grow.
#[derive(Debug, Default)]
pub struct Losses {
    reported: HashMap<LedgerKey, LedgerCount>,
    ledger_full: (u64, u64),
    since: Timestamp,
}

impl Losses {
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
            let Some(place) = place(key) else { continue };
            let before = self.reported.insert(*key, *count).unwrap_or_default();
            let packets = count.tally.packets.wrapping_sub(before.tally.packets);
            if packets == 0 {
                continue;
            }
            let local = names.local(key.endpoint).endpoint;
            let endpoint: Arc<str> = format!("{}/{}", local.namespace, local.name).into();
            let bytes = count.tally.bytes.wrapping_sub(before.tally.bytes);
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
fn place(key: &LedgerKey) -> Option<LossPlace> {
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
    use weir_datapath::abi::Tally;

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
    }
}
