//! The sealer thread: logs to Parquet files, one after the other.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Closing;
use super::error::StoreError;
use super::memory::Memory;
use super::seal::{Directories, LogCondition, remove_log, seal};
use crate::metrics::Metrics;

/// A log that is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) wal: u64,
    pub(super) condition: LogCondition,
}

pub(super) struct Sealer {
    pub(super) directories: Directories,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) close: watch::Receiver<Closing>,
}

/// The way to the sealer. With two logs waiting the writer waits too, so that memory stays bounded.
pub(super) struct Sealing {
    pub(super) jobs: SyncSender<Job>,
    pub(super) thread: JoinHandle<()>,
}

/// Pause before a failed log is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Starts the thread; `first` are the logs of earlier runs.
pub(super) fn start(sealer: Sealer, first: Vec<Job>) -> io::Result<Sealing> {
    let (jobs, queue) = sync_channel(1);
    let thread = thread::Builder::new()
        .name("seal".to_owned())
        .spawn(move || sealer.run(first, &queue))?;
    Ok(Sealing { jobs, thread })
}

impl Sealer {
    fn run(mut self, first: Vec<Job>, queue: &Receiver<Job>) {
        for job in first.into_iter().chain(queue.iter()) {
            if !self.finish(job) {
                // Order is part of the promise: a later log is not sealed before an earlier one is gone.
                return;
            }
        }
    }

    /// Seals a log, however often it takes; false if the store is closed before that.
    fn finish(&mut self, job: Job) -> bool {
        loop {
            match self.attempt(job) {
                Ok(()) => return true,
                Err(error) => {
                    self.metrics.seal_errors.inc();
                    tracing::error!(log = job.wal, %error, "sealing failed, the log is kept");
                }
            }
            if self.closed_within(PAUSE) {
                return false;
            }
        }
    }

    fn attempt(&self, job: Job) -> Result<(), StoreError> {
        let begin = Instant::now();
        let batches = self.memory.group(job.wal);
        let rows: u64 = batches.iter().map(|batch| batch.facts.rows).sum();
        let files = seal(&self.directories, job.wal, &batches)?;
        // From here on the files stand for the log: remove it first, so that a failure repeats the whole.
        remove_log(&self.directories, job.wal, job.condition)?;
        self.metrics.sealed_files.inc_by(files.len() as u64);
        self.metrics.sealed_rows.inc_by(rows);
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        self.memory.sealed(job.wal, files);
        let elapsed = begin.elapsed();
        tracing::debug!(log = job.wal, rows, bytes, ?elapsed, "sealed");
        Ok(())
    }

    fn closed_within(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if *self.close.borrow() == Closing::Yes {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }
}
