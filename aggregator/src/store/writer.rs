//! The writer thread: many batches, one write, one fsync.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use weir_flow::framing;

use super::entry::{BatchEntry, Entry, Kind, Mark, Watermarks};
use super::error::StoreError;
use super::memory::Memory;
use super::seal::{Directories, LogCondition};
use super::sealer::{Job, Sealing};
use super::wal::Wal;
use super::{Append, Batch, Closing, StoreConfig, Stored};
use crate::metrics::Metrics;

/// One write takes no more than this, so that an ack does not wait for long.
const COMMIT_BYTES: usize = 8 << 20;

pub(super) struct Writer {
    pub(super) config: StoreConfig,
    pub(super) directories: Directories,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watermarks: Watermarks,
    pub(super) wal: Wal,
    /// When the first batch came into the log; none if it is empty.
    pub(super) oldest: Option<Instant>,
    pub(super) sealing: Sealing,
    pub(super) close: watch::Receiver<Closing>,
    /// Keeps other aggregators away until the threads have ended.
    pub(super) lock: File,
}

/// What the thread woke up for.
enum Event {
    Append(Append),
    SealDue,
    Closed,
}

/// A batch of the commit, and who waits for it.
struct Pending {
    batch: Batch,
    stored: Stored,
    reply: oneshot::Sender<Result<Stored, Arc<StoreError>>>,
}

impl Writer {
    pub(super) fn start(self, appends: mpsc::Receiver<Append>) -> io::Result<JoinHandle<()>> {
        let runtime = Handle::current();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || self.run(appends, &runtime))
    }

    fn run(mut self, mut appends: mpsc::Receiver<Append>, runtime: &Handle) {
        loop {
            match runtime.block_on(self.next(&mut appends)) {
                Event::Append(first) => self.commit(collect(first, &mut appends)),
                Event::SealDue => {}
                Event::Closed => break,
            }
            if self.is_due() {
                self.rotate();
            }
        }
        // What waits in the queue is not stored: its collectors are not told so, and send it again.
        appends.close();
        if self.oldest.is_some() {
            self.rotate();
        }
        drop(self.sealing.jobs);
        if self.sealing.thread.join().is_err() {
            tracing::error!("the store's sealer ended abnormally");
        }
        drop(self.lock);
    }

    async fn next(&mut self, appends: &mut mpsc::Receiver<Append>) -> Event {
        let due = self.oldest.map(|oldest| oldest + self.config.seal_after);
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.close.wait_for(|close| *close == Closing::Yes) => Event::Closed,
            append = appends.recv() => append.map_or(Event::Closed, Event::Append),
            () = due => Event::SealDue,
        }
    }

    fn is_due(&self) -> bool {
        self.oldest.is_some_and(|oldest| {
            self.wal.length() >= self.config.seal_bytes
                || oldest.elapsed() >= self.config.seal_after
        })
    }

    /// Begins the next log and gives this one to the sealer. If no log can be made, this one grows on.
    fn rotate(&mut self) {
        let next = self.wal.number + 1;
        match Wal::create(&self.directories.wal, next, &self.watermarks) {
            Ok(wal) => {
                let complete = std::mem::replace(&mut self.wal, wal);
                self.oldest = None;
                let job = Job {
                    wal: complete.number,
                    condition: LogCondition::Whole,
                };
                if self.sealing.jobs.send(job).is_err() {
                    tracing::warn!(log = job.wal, "left for the next start");
                }
            }
            Err(error) => {
                self.metrics.seal_errors.inc();
                tracing::error!(%error, "no new log, writing on in the old one");
                self.oldest = Some(Instant::now());
            }
        }
    }

    fn commit(&mut self, appends: Vec<Append>) {
        let mut frames = Vec::new();
        let mut pending = Vec::with_capacity(appends.len());
        let mut watermarks = self.watermarks.clone();
        for Append { batch, reply } in appends {
            let known = watermarks.covers(&batch.node, batch.epoch, batch.seq);
            let stored = if known {
                Stored::Duplicate
            } else {
                watermarks.advance(&batch.node, batch.epoch, batch.seq);
                framing::write(&mut frames, &entry(&batch).encode_to_vec());
                Stored::New
            };
            pending.push(Pending {
                batch,
                stored,
                reply,
            });
        }
        if frames.is_empty() {
            self.acknowledge(pending);
            return;
        }
        match self.wal.append(&frames) {
            Ok(synced) => {
                self.metrics.fsync_seconds.observe(synced.as_secs_f64());
                self.metrics.wal_bytes.inc_by(frames.len() as u64);
                self.watermarks = watermarks;
                self.oldest.get_or_insert_with(Instant::now);
                self.acknowledge(pending);
            }
            Err(error) => self.refuse(pending, error),
        }
    }

    fn acknowledge(&self, pending: Vec<Pending>) {
        for Pending {
            batch,
            stored,
            reply,
        } in pending
        {
            match stored {
                Stored::New => {
                    self.metrics.stored(&batch.facts);
                    self.memory
                        .add(self.wal.number, batch.node, batch.rows, batch.facts);
                }
                Stored::Duplicate => {
                    self.metrics.duplicates.inc();
                }
            }
            // A collector that is gone meanwhile learns it when it sends the batch again.
            drop(reply.send(Ok(stored)));
        }
    }

    fn refuse(&self, pending: Vec<Pending>, error: StoreError) {
        self.metrics.write_errors.inc();
        tracing::error!(%error, batches = pending.len(), "not stored, the collectors keep them");
        let error = Arc::new(error);
        for Pending { reply, .. } in pending {
            drop(reply.send(Err(error.clone())));
        }
    }
}

/// What waits behind the first batch, up to one commit's size.
fn collect(first: Append, appends: &mut mpsc::Receiver<Append>) -> Vec<Append> {
    let mut bytes = first.batch.packed.len();
    let mut group = vec![first];
    while bytes < COMMIT_BYTES
        && let Ok(append) = appends.try_recv()
    {
        bytes += append.batch.packed.len();
        group.push(append);
    }
    group
}

fn entry(batch: &Batch) -> Entry {
    Entry {
        kind: Some(Kind::Batch(BatchEntry {
            mark: Some(Mark {
                node: batch.node.clone(),
                epoch: batch.epoch,
                seq: batch.seq,
            }),
            packed: batch.packed.clone(),
        })),
    }
}
