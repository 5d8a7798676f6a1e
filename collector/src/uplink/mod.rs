//! The way to the aggregator: record batches over Arrow Flight, kept in a spool until they are acknowledged.
//!
//! ```text
//!  push, append ──▶ spool (append files, survive SIGKILL) ──▶ sender ── DoPut ──▶ aggregator
//!                     ▲ frames up to the acked one go away  ◀── ack: on its disk ──┘
//! ```
//!
//! Each start of the collector begins an epoch; its batches are numbered from 1. What an earlier epoch left is sent
//! again with its own numbers, and the aggregator knows what it has already. The bytes that wait are bounded; what does
//! not fit is counted and told as a loss record: allowed flows first, denials last.

mod admission;
mod sender;
mod spool;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_flow::Item;
use weir_tls::{ClientFiles, Target, TlsError};

use spool::Spool;
pub use spool::SpoolError;

/// How the uplink works.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://host:port` of the aggregator, or `https://host:port`.
    pub url: String,
    /// Whom to trust there, and what the collector proves itself with.
    pub tls: Option<ClientFiles>,
    /// This node's name.
    pub node: Arc<str>,
    /// The spool's directory.
    pub directory: PathBuf,
    /// Bound on the bytes that wait for an acknowledgement. The files may exceed it by one segment, a sixteenth of it.
    pub max_bytes: u64,
    /// How long a record may wait for others to make a batch with.
    pub batch_delay: Duration,
}

impl Config {
    /// The defaults: 256 MiB, 200 ms.
    pub fn new(url: String, node: Arc<str>, directory: PathBuf) -> Self {
        Self {
            url,
            tls: None,
            node,
            directory,
            max_bytes: 256 << 20,
            batch_delay: Duration::from_millis(200),
        }
    }
}

/// The uplink cannot start.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The address of the aggregator is none, or the files for it cannot be used.
    #[error("--aggregator: {0}")]
    Target(#[from] TlsError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Names a batch: everything up to it survives a crash of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The collector's epoch.
    pub epoch: u64,
    /// The batch's number in it.
    pub seq: u64,
}

/// How the uplink fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The aggregator.
    pub url: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Bytes that wait for an acknowledgement.
    pub unacked_bytes: u64,
    /// Their bound.
    pub max_bytes: u64,
    /// Batches that wait for an acknowledgement.
    pub unacked_batches: u64,
    /// The newest acknowledged batch of this run.
    pub acked: Option<Position>,
    /// Records that did not fit, in this run.
    pub refused_records: u64,
}

/// The uplink. Clones share it.
#[derive(Clone, Debug)]
pub struct Uplink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    target: Target,
    spool: Mutex<Spool>,
    link: Mutex<Link>,
    /// Records wait in memory for a batch.
    buffered: Notify,
    /// Frames wait in the spool.
    spooled: Notify,
    /// Frames left the spool.
    acked: Notify,
}

/// The connection, for [`Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    #[default]
    Down,
    Up,
}

impl Uplink {
    /// Opens the spool and starts the sender, which ends some seconds after `shutdown` is cancelled.
    ///
    /// # Errors
    /// The address is none, or the spool cannot be used. An absent aggregator is no error.
    pub fn spawn(
        config: Config,
        shutdown: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), UplinkError> {
        let target = sender::target(&config)?;
        let spool = Spool::open(&config.directory, config.node.clone(), config.max_bytes)?;
        let shared = Arc::new(Shared {
            config,
            target,
            spool: Mutex::new(spool),
            link: Mutex::new(Link::Down),
            buffered: Notify::new(),
            spooled: Notify::new(),
            acked: Notify::new(),
        });
        let task = tokio::spawn(sender::run(shared.clone(), shutdown));
        Ok((Self { shared }, task))
    }

    /// Takes records that the kernel still holds: they are in memory until a batch is made of them, after at most
    /// [`Config::batch_delay`].
    pub fn push<'a>(&self, items: impl IntoIterator<Item = &'a Item>) {
        self.shared.spool().push(items);
        self.shared.wake();
    }

    /// Takes records, and those before them: when this returns, they survive SIGKILL (not a power cut: there is no
    /// fsync). What cannot be kept, because the bound is reached or the disk is full, is counted as lost.
    pub fn append<'a>(&self, items: impl IntoIterator<Item = &'a Item>) -> Position {
        let mut spool = self.shared.spool();
        spool.push(items);
        spool.flush();
        let position = spool.position();
        drop(spool);
        self.shared.wake();
        position
    }

    /// The aggregator.
    pub(crate) fn target(&self) -> Target {
        self.shared.target.clone()
    }

    /// Takes a few items as a batch of their own, which survives SIGKILL when this returns. `before` hears its position
    /// before it is written: whether it was shows in [`Uplink::has`] of the next run.
    pub fn append_apart<'a>(
        &self,
        items: impl IntoIterator<Item = &'a Item>,
        before: impl FnOnce(Position),
    ) {
        self.shared.spool().append_apart(items, before);
        self.shared.wake();
    }

    /// Whether a batch of an earlier run was written.
    pub fn has(&self, position: Position) -> bool {
        self.shared.spool().has(position)
    }

    /// How it fares.
    pub fn stats(&self) -> Stats {
        let spool = self.shared.spool();
        let link = *lock(&self.shared.link);
        Stats {
            url: self.shared.config.url.clone(),
            connected: link == Link::Up,
            unacked_bytes: spool.unacked_bytes(),
            max_bytes: self.shared.config.max_bytes,
            unacked_batches: spool.unacked_batches(),
            acked: spool.acked(),
            refused_records: spool.refused_records(),
        }
    }
}

impl Shared {
    fn spool(&self) -> MutexGuard<'_, Spool> {
        lock(&self.spool)
    }

    fn wake(&self) {
        self.buffered.notify_one();
        self.spooled.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The spool's files are consistent after every call; a panic in between is the process's end anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
