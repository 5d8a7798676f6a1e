//! Kernel entries and doorbells become records.
//!
//! ```text
//! ring  ── event() ──▶ Started / Denial / Rejudged at once
//! sweep ── flow(), denial() ──▶ Started if its doorbell was lost, Updated, and what has ended is handed back to be
//!          retired ── the kernel marks it, a grace time passes, it is read once more ── retired() ──▶ Ended, final
//! ```
//!
//! The assembler owns no kernel handle and no clock: the pipeline thread feeds it. Counts in records are cumulative;
//! a record number is `run << 16 | n`, so that it goes on growing when a later run of the collector adopts the entry.

mod clock;
mod draft;
mod entry;
mod event;
mod loss;
mod sweep;
#[cfg(test)]
mod tests;
mod timeouts;
mod tracked;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_flow::{Direction, Item, Record};

pub use clock::WallClock;
pub use draft::{direction, reason};
pub use entry::{EntryKey, Tuple, event_address, v4};
pub use loss::{Losses, Reported, loss_place};
pub use sweep::Disposition;
pub use timeouts::{Pressure, Timeouts};

use crate::names::Names;
use draft::Judged;
use tracked::{Tracked, TrackedEntries};

/// Says what came nearest to allowing a denied connection.
pub trait NearestMiss: Send {
    /// The nearest miss of `endpoint` (its number) towards `remote` in `direction`; `None` if nothing is known.
    fn nearest_miss(
        &mut self,
        endpoint: u32,
        direction: Direction,
        remote: IpAddr,
        protocol: u8,
        port: u16,
    ) -> Option<Arc<str>>;
}

/// Who is assembling.
#[derive(Clone, Debug)]
pub struct Run {
    /// First 8 bytes of the kernel's boot id.
    pub boot: u64,
    /// Number of this run of the collector on this state directory.
    pub run: u16,
    /// Node name.
    pub node: Arc<str>,
}

impl Run {
    /// The number of the first record about a flow that this run has not met before.
    fn first_number(&self) -> u32 {
        (u32::from(self.run) << 16) + 1
    }
}

/// How often a living flow is reported.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// Between two `Updated` records of a flow whose counts grow.
    pub update: Duration,
    /// Between two records of a denial whose counts grow.
    pub denial: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            update: Duration::from_secs(15),
            denial: Duration::from_secs(2),
        }
    }
}

/// The state of the assembly: what has been said about which living entry.
pub struct Assembler {
    run: Run,
    intervals: Intervals,
    timeouts: Timeouts,
    names: Arc<Names>,
    misses: Box<dyn NearestMiss>,
    tracked: TrackedEntries,
    gone: HashSet<u32>,
    generation: u32,
    /// When this run began (CLOCK_MONOTONIC, ns): entries older than that were adopted.
    started_ns: u64,
}

impl Assembler {
    /// An assembler that has room for `expected` entries before it allocates. `started_ns`: CLOCK_MONOTONIC now.
    pub fn new(
        run: Run,
        intervals: Intervals,
        timeouts: Timeouts,
        names: Arc<Names>,
        misses: Box<dyn NearestMiss>,
        started_ns: u64,
        expected: usize,
    ) -> Self {
        Self {
            run,
            intervals,
            timeouts,
            names,
            misses,
            tracked: TrackedEntries::with_capacity(expected),
            gone: HashSet::new(),
            generation: 0,
            started_ns,
        }
    }

    /// The endpoints (numbers) whose interfaces are gone: the next sweep ends their entries.
    pub fn set_gone(&mut self, gone: HashSet<u32>) {
        self.gone = gone;
    }

    /// How many entries are tracked.
    pub fn tracked(&self) -> usize {
        self.tracked.len()
    }

    /// Emits `record` as the next one of its flow and remembers it.
    fn say(
        &mut self,
        mut record: Record,
        judged: Judged,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    ) {
        let before = self.tracked.get_mut(record.id.serial);
        record.number = match &before {
            Some(before) => before.record.number.saturating_add(1),
            None => self.run.first_number(),
        };
        out(Item::Flow(record.clone()));
        let tracked = Tracked {
            record,
            judged,
            said_ns: clock.monotonic_ns,
            generation: self.generation,
        };
        match before {
            Some(before) => *before = tracked,
            None => self.tracked.add(tracked.record.id.serial, || tracked),
        }
    }
}
