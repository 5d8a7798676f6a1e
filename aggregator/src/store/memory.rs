//! The recent batches, in groups of one log each. A group leaves memory only whole and only when it is sealed, so that
//! a row is either here or in the lake for a reader, never in both.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use tokio::sync::watch;
use weir_flow::columns::Facts;

use super::lake::LakeFile;

/// A batch that is on disk.
#[derive(Debug)]
pub struct StoredBatch {
    /// Number in the order of arrival, from 1, of this run of the aggregator.
    pub ordinal: u64,
    /// Rows that arrived before this batch in this run.
    pub rows_before: u64,
    /// The node that sent it.
    pub node: String,
    /// Its rows.
    pub rows: RecordBatch,
    /// What it holds.
    pub facts: Facts,
    /// Memory that it takes.
    pub bytes: u64,
}

/// All batches of one log.
#[derive(Clone, Debug)]
struct Group {
    wal: u64,
    batches: Vec<Arc<StoredBatch>>,
    bytes: u64,
    state: GroupState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupState {
    Unsealed,
    Sealed,
}

/// Rows that a follower reads at once, at least: it holds them decoded.
const NEWS_ROWS: u64 = 16_384;

/// Memory and lake, as one consistent whole.
#[derive(Debug)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
    /// The newest ordinal; wakes followers.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    groups: VecDeque<Group>,
    files: Vec<Arc<LakeFile>>,
    bytes: u64,
    max_bytes: u64,
    ordinal: u64,
    rows: u64,
}

/// What a query reads: no row is in it twice.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Recent batches, oldest first.
    pub batches: Vec<Arc<StoredBatch>>,
    /// Parquet files of what is not among `batches`.
    pub files: Vec<Arc<LakeFile>>,
    /// Ordinal of the newest batch: where a follower goes on.
    pub newest: u64,
    /// Rows up to there.
    pub rows: u64,
}

/// What a follower reads.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Batches behind the cursor.
    pub batches: Vec<Arc<StoredBatch>>,
    /// Rows that left memory before this reader came for them.
    pub missed_rows: u64,
}

/// Sizes for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the batches in memory.
    pub recent_bytes: u64,
    /// The bound that sealed batches have to keep.
    pub recent_max_bytes: u64,
    /// Rows in memory.
    pub recent_rows: u64,
    /// Bytes in memory that are not sealed yet.
    pub unsealed_bytes: u64,
    /// Parquet files.
    pub files: u64,
    /// Bytes of the Parquet files.
    pub file_bytes: u64,
}

/// Bytes of a batch's values. All columns of a frame lie in one buffer, whose size each of them would claim.
fn size(rows: &RecordBatch) -> u64 {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
    rows.columns().iter().map(bytes).sum::<usize>() as u64
}

impl Memory {
    pub(super) fn new(max_bytes: u64, files: Vec<Arc<LakeFile>>) -> Self {
        let inner = Inner {
            groups: VecDeque::new(),
            files,
            bytes: 0,
            max_bytes,
            ordinal: 0,
            rows: 0,
        };
        Self {
            inner: Mutex::new(inner),
            newest: watch::Sender::new(0),
        }
    }

    /// Adds a batch to the group of its log.
    pub(super) fn add(&self, wal: u64, node: String, rows: RecordBatch, facts: Facts) {
        let bytes = size(&rows);
        let mut inner = self.lock();
        inner.ordinal += 1;
        let batch = Arc::new(StoredBatch {
            ordinal: inner.ordinal,
            rows_before: inner.rows,
            node,
            bytes,
            rows,
            facts,
        });
        inner.rows += batch.facts.rows;
        inner.bytes += bytes;
        match inner.groups.back_mut().filter(|group| group.wal == wal) {
            Some(group) => {
                group.bytes += bytes;
                group.batches.push(batch);
            }
            None => inner.groups.push_back(Group {
                wal,
                batches: vec![batch],
                bytes,
                state: GroupState::Unsealed,
            }),
        }
        inner.evict();
        let ordinal = inner.ordinal;
        drop(inner);
        self.newest.send_replace(ordinal);
    }

    /// The batches of a log that is to be sealed.
    pub(super) fn group(&self, wal: u64) -> Vec<Arc<StoredBatch>> {
        let inner = self.lock();
        let group = inner.groups.iter().find(|group| group.wal == wal);
        group.map(|group| group.batches.clone()).unwrap_or_default()
    }

    /// A log's rows are in these files now.
    pub(super) fn sealed(&self, wal: u64, files: Vec<Arc<LakeFile>>) {
        let mut inner = self.lock();
        if let Some(group) = inner.groups.iter_mut().find(|group| group.wal == wal) {
            group.state = GroupState::Sealed;
        }
        inner.files.extend(files);
        inner.evict();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let groups = &inner.groups;
        let elsewhere = |file: &&Arc<LakeFile>| !groups.iter().any(|group| group.wal == file.wal);
        Snapshot {
            batches: groups
                .iter()
                .flat_map(|group| group.batches.iter().cloned())
                .collect(),
            files: inner.files.iter().filter(elsewhere).cloned().collect(),
            newest: inner.ordinal,
            rows: inner.rows,
        }
    }

    /// The batches behind `cursor`, and how many of the `rows_seen` and later rows are gone.
    pub(super) fn news(&self, cursor: u64, rows_seen: u64) -> News {
        let inner = self.lock();
        let batches: Vec<_> = inner
            .groups
            .iter()
            .rev()
            .flat_map(|group| group.batches.iter().rev())
            .take_while(|batch| batch.ordinal > cursor)
            .cloned()
            .collect();
        let next = batches.last().map_or(inner.rows, |batch| batch.rows_before);
        let mut rows = 0;
        let take = batches.into_iter().rev().take_while(|batch| {
            let more = rows < NEWS_ROWS;
            rows += batch.facts.rows;
            more
        });
        News {
            batches: take.collect(),
            missed_rows: next.saturating_sub(rows_seen),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(super) fn sizes(&self) -> Sizes {
        let inner = self.lock();
        let unsealed = inner
            .groups
            .iter()
            .filter(|group| group.state == GroupState::Unsealed);
        let batches = inner.groups.iter().flat_map(|group| &group.batches);
        Sizes {
            recent_bytes: inner.bytes,
            recent_max_bytes: inner.max_bytes,
            recent_rows: batches.map(|batch| batch.facts.rows).sum(),
            unsealed_bytes: unsealed.map(|group| group.bytes).sum(),
            files: inner.files.len() as u64,
            file_bytes: inner.files.iter().map(|file| file.bytes).sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is complete before anything in it can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn evict(&mut self) {
        while self.bytes > self.max_bytes
            && let Some(group) = self.groups.front()
            && group.state == GroupState::Sealed
        {
            self.bytes -= group.bytes;
            self.groups.pop_front();
        }
    }
}
