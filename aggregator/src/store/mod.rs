//! The store: acknowledged batches in a log, in memory for queries, and sealed into Parquet files.
//!
//! ```text
//!  append ──▶ writer thread ── log: one write, one fsync for many batches ──▶ ack ──▶ memory ──▶ queries, followers
//!                  │ every minute or 64 MiB: next log                            ▲
//!                  ▼                                                             │ same rows, never both
//!             sealer thread ── flows/date=…/hour=…/{log}.parquet ── log removed ─┘
//! ```
//!
//! What is in a log or in the file named after it is one set of rows: a file counts only once its log is gone.

mod entry;
mod error;
mod lake;
mod memory;
mod open;
mod seal;
mod sealer;
#[cfg(test)]
pub(crate) mod tests;
mod wal;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use weir_flow::columns::Facts;

pub use error::StoreError;
pub use lake::{LakeFile, LakeReader};
pub use memory::{News, Sizes, Snapshot, StoredBatch};

use crate::metrics::Metrics;
use memory::Memory;

/// How the store works.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory.
    pub data: PathBuf,
    /// Bound on the memory of recent batches; what is not sealed yet stays beyond it.
    pub recent_max_bytes: u64,
    /// A log is sealed when it has this many bytes,
    pub seal_bytes: u64,
    /// or when its oldest batch is this old.
    pub seal_after: Duration,
}

impl StoreConfig {
    /// The defaults, in this directory.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            recent_max_bytes: 256 << 20,
            seal_bytes: 64 << 20,
            seal_after: Duration::from_secs(60),
        }
    }
}

/// A batch to be stored.
#[derive(Debug)]
pub struct Batch {
    /// The node that sent it.
    pub node: String,
    /// The collector's epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub seq: u64,
    /// The frame as it came, packed for the log.
    pub packed: bytes::Bytes,
    /// Its rows.
    pub rows: RecordBatch,
    /// What it holds.
    pub facts: Facts,
}

/// What became of a batch. Either way it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was new.
    New,
    /// It was there already.
    Duplicate,
}

/// Batches that wait for the writer; a collector that would exceed them waits.
const QUEUE: usize = 256;

struct Append {
    batch: Batch,
    reply: oneshot::Sender<Result<Stored, Arc<StoreError>>>,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    memory: Arc<Memory>,
    queue: mpsc::Sender<Append>,
    /// Nodes that were known when it was opened.
    known_nodes: Arc<[String]>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    close: watch::Sender<Closing>,
}

/// Whether the store goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Yes,
}

/// A batch on its way to disk.
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<Result<Stored, Arc<StoreError>>>);

impl Submitted {
    /// Returns when it is on disk.
    ///
    /// # Errors
    /// It is not stored.
    pub async fn stored(self) -> Result<Stored, Arc<StoreError>> {
        self.0.await.map_err(|_| closed())?
    }
}

fn closed() -> Arc<StoreError> {
    Arc::new(StoreError::Closed)
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the data directory, brings what a crash left in order, and starts the threads.
    ///
    /// # Errors
    /// The directory cannot be used: not writable, in use by another aggregator, or a log cannot be read.
    pub fn open(config: StoreConfig, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        open::open(config, metrics)
    }

    /// Stores a batch: returns when it is on disk, or was already.
    ///
    /// # Errors
    /// It is not stored, e.g. because the disk is full. The collector keeps it and sends it again.
    pub async fn append(&self, batch: Batch) -> Result<Stored, Arc<StoreError>> {
        self.submit(batch).await?.stored().await
    }

    /// Hands a batch over; batches are stored in the order in which they are handed over. Waits while the writer has
    /// enough to do.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn submit(&self, batch: Batch) -> Result<Submitted, Arc<StoreError>> {
        let (reply, answer) = oneshot::channel();
        if *self.close.borrow() == Closing::Yes {
            return Err(closed());
        }
        let append = Append { batch, reply };
        self.queue.send(append).await.map_err(|_| closed())?;
        Ok(Submitted(answer))
    }

    /// Everything there is, each row once.
    pub fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    /// What arrived behind `cursor` (an ordinal); `rows_seen` rows were read so far.
    pub fn news(&self, cursor: u64, rows_seen: u64) -> News {
        self.memory.news(cursor, rows_seen)
    }

    /// Fires when batches arrive.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.memory.subscribe()
    }

    /// Sizes for status and metrics.
    pub fn sizes(&self) -> Sizes {
        self.memory.sizes()
    }

    /// Nodes that had sent something before this run.
    pub fn known_nodes(&self) -> &[String] {
        &self.known_nodes
    }

    /// Seals everything and stops. What cannot be sealed stays in its log for the next start.
    pub async fn close(&self) {
        self.close.send_replace(Closing::Yes);
        let Some(writer) = self.writer.lock().await.take() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || writer.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the store's writer ended abnormally");
        }
    }
}
