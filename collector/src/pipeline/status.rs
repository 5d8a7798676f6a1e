//! What the pipeline shows of itself.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_flow::{Direction, LossPlace, Reason, Tally, Timestamp, Verdict};

use crate::telemetry::MapFill;

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFill {
    /// Its name.
    pub name: &'static str,
    /// Entries in it.
    pub used: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

impl From<TableFill> for MapFill {
    fn from(fill: TableFill) -> Self {
        Self {
            map: fill.name,
            used: fill.used,
            capacity: fill.capacity,
        }
    }
}

/// What was done with an endpoint's packets, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// As the pod sees it.
    pub direction: Direction,
    /// What was done.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub total: Tally,
}

/// Losses at one place since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossTotal {
    /// Where on the way.
    pub place: LossPlace,
    /// Records lost.
    pub records: u64,
    /// Packets lost.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

/// The state of the last sweep.
#[derive(Clone, Debug, Default)]
pub struct PipelineStatus {
    /// The tables.
    pub tables: Vec<TableFill>,
    /// By endpoint number.
    pub ledger: HashMap<u32, Vec<LedgerLine>>,
    /// By place.
    pub losses: Vec<LossTotal>,
    /// Records made since the start.
    pub records: u64,
    /// Doorbells that found the flow ring full, since the maps were made.
    pub flow_ring_full: u64,
    /// Doorbells that found the denial ring full, since the maps were made.
    pub denial_ring_full: u64,
}

/// The last published state; a clone is the same view.
#[derive(Clone, Debug, Default)]
pub struct StatusView(Arc<ArcSwap<PipelineStatus>>);

impl StatusView {
    /// The last published state.
    pub fn get(&self) -> Arc<PipelineStatus> {
        self.0.load_full()
    }

    pub(super) fn publish(&self, status: PipelineStatus) {
        self.0.store(Arc::new(status));
    }
}
