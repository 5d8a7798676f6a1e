//! Which packets of a living flow the aggregator has been told of. A refused record is made good by the flow's next one;
//! only what a refused last record adds is lost with it.

use hashbrown::HashMap;
use weir_flow::{Counts, FlowId, Item, Record};

/// Packets and bytes of living flows' admitted records. After a restart it knows those flows only that have been told of
/// since, which the first sweep does.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<FlowId, (u64, u64), foldhash::fast::RandomState>);

impl Told {
    /// A record goes to the aggregator.
    pub(super) fn admitted(&mut self, item: &Item) {
        let Item::Flow(record) = item else { return };
        if record.end.is_some() {
            self.0.remove(&record.id);
        } else {
            self.0.insert(record.id, total(&record.counts));
        }
    }

    /// A record does not go there: the packets and bytes that are lost with it.
    pub(super) fn refused(&mut self, record: &Record) -> (u64, u64) {
        if record.end.is_none() {
            return (0, 0);
        }
        let (packets, bytes) = total(&record.counts);
        let (told_packets, told_bytes) = self.0.remove(&record.id).unwrap_or_default();
        (
            packets.saturating_sub(told_packets),
            bytes.saturating_sub(told_bytes),
        )
    }
}

fn total(counts: &Counts) -> (u64, u64) {
    let Counts {
        egress,
        ingress,
        egress_dropped,
        ingress_dropped,
    } = counts;
    let all = [egress, ingress, egress_dropped, ingress_dropped];
    (
        all.iter().map(|tally| tally.packets).sum(),
        all.iter().map(|tally| tally.bytes).sum(),
    )
}
