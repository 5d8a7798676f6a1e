//! The kernel's ledger and counters: losses for the stream, metrics, totals for `Status`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_datapath::abi::{Counter, LedgerCount, LedgerKey, Reason};
use weir_flow::{Item, LossPlace, Timestamp};

use super::book::{Book, Missing};
use super::status::{LedgerLine, LossTotal, PipelineStatus, TableFill};
use crate::assemble::{Losses, Reported, WallClock, direction, loss_place, reason};
use crate::kernel::{Counters, KernelError, MapOrigin};
use crate::names::Names;
use crate::state::{StateDir, StateError};
use crate::telemetry::{OwnMetrics, RingLabel};
use crate::uplink::Position;

const FILE: &str = "losses.json";

/// What was reported, in the state directory.
#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(flatten)]
    reported: Reported,
    /// What is reported with one more batch, if that one was written.
    next: Option<Next>,
}

/// The same, to be written.
#[derive(Serialize)]
struct FileRef<'a> {
    #[serde(flatten)]
    reported: &'a Reported,
    next: Option<&'a Next>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Next {
    reported: Reported,
    batch: Position,
}

/// Reads the ledger; remembers across restarts what was reported of it.
pub struct Ledger {
    node: Arc<str>,
    names: Arc<Names>,
    own: OwnMetrics,
    state: StateDir,
    losses: Losses,
    lines: Vec<(LedgerKey, LedgerCount)>,
    /// Packets of lines that were removed with their endpoints, by direction and reason.
    removed: HashMap<(u8, u8), u64>,
    totals: BTreeMap<LossPlace, LossTotal>,
    /// What was reported, as the file has it.
    saved: Reported,
    /// Doorbells that found a ring full: flows, denials.
    ring_full: [u64; 2],
    /// What was reported has changed since it was saved.
    is_dirty: bool,
}

impl Ledger {
    /// Goes on where an earlier run with the same maps ended. `was_written` knows whether a batch of that run's uplink
    /// is on disk.
    ///
    /// # Errors
    /// [`StateError`] if what it reported cannot be read.
    pub fn open(
        node: Arc<str>,
        names: Arc<Names>,
        own: OwnMetrics,
        state: StateDir,
        origin: MapOrigin,
        now: Timestamp,
        was_written: impl Fn(Position) -> bool,
    ) -> Result<Self, StateError> {
        let file: Option<File> = match origin {
            MapOrigin::Adopted => state.load(FILE)?,
            MapOrigin::Fresh => None,
        };
        let File { reported, next } = file.unwrap_or_default();
        let saved = match next {
            Some(next) if was_written(next.batch) => next.reported,
            _ => reported,
        };
        let losses = Losses::resume(&saved, now);
        Ok(Self {
            node,
            names,
            own,
            state,
            losses,
            lines: Vec::new(),
            removed: HashMap::new(),
            totals: BTreeMap::new(),
            saved,
            ring_full: [0; 2],
            is_dirty: false,
        })
    }

    /// Reads everything once. Lines of endpoints that are gone and forgotten are read for the last time, and removed.
    pub(super) fn read(
        &mut self,
        counters: &mut Counters,
        missing: &mut Missing,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) -> Result<(), KernelError> {
        self.lines.clear();
        counters.ledger(|key, count| {
            missing.meet(key.endpoint);
            self.lines.push((*key, count));
        })?;
        let sums = counters.sums()?;
        let mut emit = |item| {
            self.is_dirty = true;
            out(item);
        };
        self.losses
            .ledger(&self.lines, &self.names, &self.node, clock, &mut emit);
        let (full, bytes) = (
            sums.get(Counter::LedgerFull),
            sums.get(Counter::LedgerFullBytes),
        );
        self.losses
            .ledger_full(full, bytes, &self.node, clock, &mut emit);
        self.rings([
            sums.get(Counter::FlowRingFull),
            sums.get(Counter::DenialRingFull),
        ]);
        self.non_flow();
        for (key, count) in self
            .lines
            .iter()
            .filter(|(key, _)| missing.is_gone(key.endpoint))
        {
            counters.remove_line(key)?;
            self.losses.forget(key);
            *self.removed.entry((key.direction, key.reason)).or_default() += count.tally.packets;
        }
        Ok(())
    }

    /// Adds up losses that are about to be delivered.
    pub(super) fn note(&mut self, items: &[Item]) {
        for item in items {
            let Item::Loss(loss) = item else { continue };
            let fresh = LossTotal {
                place: loss.place,
                records: 0,
                packets: 0,
                bytes: 0,
                first: loss.from,
                last: loss.to,
            };
            let total = self.totals.entry(loss.place).or_insert(fresh);
            total.records += loss.records;
            total.packets += loss.packets;
            total.bytes += loss.bytes;
            total.last = loss.to;
        }
    }

    /// Losses are about to be reported in this batch. If this run ends before [`Ledger::save`], the next one looks
    /// whether the batch was written.
    pub(super) fn save_before(&self, batch: Position) {
        let next = Next {
            reported: self.losses.reported(),
            batch,
        };
        self.write(&self.saved, Some(&next));
    }

    /// Remembers that what was reported has been delivered.
    pub(super) fn save(&mut self) {
        if !self.is_dirty {
            return;
        }
        let reported = self.losses.reported();
        if self.write(&reported, None) {
            self.saved = reported;
            self.is_dirty = false;
        }
    }

    fn write(&self, reported: &Reported, next: Option<&Next>) -> bool {
        let written = self.state.save(FILE, &FileRef { reported, next });
        if let Err(error) = &written {
            tracing::warn!(%error, "a restart now would report losses again");
        }
        written.is_ok()
    }

    /// What `Status` shows after a sweep.
    pub(super) fn status(&self, book: &Book, tables: &[TableFill]) -> PipelineStatus {
        let mut ledger: HashMap<u32, Vec<LedgerLine>> = HashMap::new();
        for (line, total) in book.total(&self.lines) {
            ledger.entry(line.endpoint).or_default().push(LedgerLine {
                direction: line.direction,
                verdict: line.verdict,
                reason: reason(line.reason),
                total,
            });
        }
        for lines in ledger.values_mut() {
            lines.sort_unstable_by_key(|line| (line.direction, line.verdict, line.reason));
        }
        PipelineStatus {
            tables: tables.to_vec(),
            ledger,
            losses: self.totals.values().copied().collect(),
            records: self.own.records.get(),
            flow_ring_full: self.ring_full[0],
            denial_ring_full: self.ring_full[1],
        }
    }

    fn rings(&mut self, full: [u64; 2]) {
        for ((ring, now), before) in ["flows", "denials"]
            .into_iter()
            .zip(full)
            .zip(&mut self.ring_full)
        {
            let counter = self.own.ring_full.get_or_create(&RingLabel { ring });
            counter.inc_by(now.saturating_sub(*before));
            *before = now;
        }
    }

    fn non_flow(&self) {
        let mut sums = self.removed.clone();
        for (key, count) in self
            .lines
            .iter()
            .filter(|(key, _)| loss_place(key).is_none())
        {
            *sums.entry((key.direction, key.reason)).or_default() += count.tally.packets;
        }
        for ((way, why), packets) in sums {
            if let Some(why) = Reason::from_u8(why) {
                self.own
                    .set_non_flow(direction(way).as_str(), why.as_str(), packets);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_datapath::abi::Tally;

    use super::*;
    use crate::telemetry::Telemetry;

    const BATCH: Position = Position { epoch: 5, seq: 7 };

    fn open(directory: &std::path::Path, was_written: impl Fn(Position) -> bool) -> Ledger {
        Ledger::open(
            "node-1".into(),
            Arc::new(Names::default()),
            Telemetry::new().0.own,
            StateDir::open(directory).unwrap(),
            MapOrigin::Adopted,
            Timestamp(0),
            was_written,
        )
        .unwrap()
    }

    /// Packets that are news when the kernel's ledger has `packets`.
    fn lost(ledger: &mut Ledger, packets: u64) -> u64 {
        let key = LedgerKey {
            endpoint: 1,
            reason: Reason::TableFull as u8,
            ..LedgerKey::default()
        };
        let count = LedgerCount {
            tally: Tally { packets, bytes: 0 },
            extra_segments: 0,
        };
        let clock = WallClock {
            wall_ns: 0,
            monotonic_ns: 0,
            jiffies: 0,
            ns_per_jiffy: 1,
        };
        let (names, node) = (ledger.names.clone(), ledger.node.clone());
        let mut sum = 0;
        let out = &mut |item| {
            if let Item::Loss(loss) = item {
                sum += loss.packets;
            }
        };
        let lines = [(key, count)];
        ledger.losses.ledger(&lines, &names, &node, &clock, out);
        ledger.is_dirty |= sum > 0;
        sum
    }

    #[test]
    fn losses_are_told_once_wherever_the_last_run_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = open(directory.path(), |_| false);
        assert_eq!(lost(&mut ledger, 3), 3);
        ledger.save();
        assert_eq!(lost(&mut ledger, 10), 7);
        ledger.save_before(BATCH);
        let mut written = open(directory.path(), |batch| batch == BATCH);
        assert_eq!(lost(&mut written, 12), 2, "ended behind the batch");
        let mut unwritten = open(directory.path(), |_| false);
        assert_eq!(lost(&mut unwritten, 12), 9, "ended before the batch");
        ledger.save();
        let mut saved = open(directory.path(), |_| false);
        assert_eq!(lost(&mut saved, 12), 2, "and the batch has left the disk");
    }
}
