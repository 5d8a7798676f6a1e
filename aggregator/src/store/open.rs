//! Opening a data directory, and bringing in order what a crash left.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};
use weir_flow::columns::{Codec, Facts};

use super::entry::Watermarks;
use super::error::StoreError;
use super::memory::Memory;
use super::seal::{Directories, LogCondition};
use super::sealer::{self, Job, Sealer};
use super::wal::{self, Wal};
use super::writer::Writer;
use super::{Closing, QUEUE, Store, StoreConfig, lake};
use crate::metrics::Metrics;

pub(super) fn open(config: StoreConfig, metrics: Arc<Metrics>) -> Result<Store, StoreError> {
    std::fs::create_dir_all(&config.data).map_err(StoreError::io("creating", &config.data))?;
    let lock = lock(&config.data)?;
    let directories = Directories::create(&config.data)?;
    let logs = wal::list(&directories.wal)?;
    let files = lake::scan(&directories.flows, &logs)?;
    let set_aside = wal::list(&directories.damaged)?;
    let last = [
        logs.last().copied(),
        set_aside.last().copied(),
        files.iter().map(|file| file.wal).max(),
    ];
    let next = last.into_iter().flatten().max().map_or(1, |last| last + 1);
    let memory = Arc::new(Memory::new(config.recent_max_bytes, files));
    let mut watermarks = Watermarks::default();
    let mut jobs = Vec::new();
    for number in logs {
        jobs.push(replay(
            &directories,
            number,
            &mut watermarks,
            &memory,
            &metrics,
        )?);
    }
    let log = Wal::create(&directories.wal, next, &watermarks)?;
    let known_nodes = watermarks.nodes().map(str::to_owned).collect();
    let close = watch::Sender::new(Closing::No);
    let sealer = Sealer {
        directories: directories.clone(),
        memory: memory.clone(),
        metrics: metrics.clone(),
        close: close.subscribe(),
    };
    let sealing = sealer::start(sealer, jobs)
        .map_err(StoreError::io("starting the sealer of", &config.data))?;
    let (queue, appends) = mpsc::channel(QUEUE);
    let data = config.data.clone();
    let writer = Writer {
        config,
        directories,
        memory: memory.clone(),
        metrics,
        watermarks,
        wal: log,
        oldest: None,
        sealing,
        close: close.subscribe(),
        lock,
    };
    let writer = writer
        .start(appends)
        .map_err(StoreError::io("starting the writer of", &data))?;
    Ok(Store {
        memory,
        queue,
        known_nodes,
        writer: Arc::new(Mutex::new(Some(writer))),
        close,
    })
}

fn lock(data: &Path) -> Result<File, StoreError> {
    let path = data.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StoreError::io("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(StoreError::io("locking", &path)(source)),
    }
}

/// Reads a log into memory, to be sealed.
fn replay(
    directories: &Directories,
    number: u64,
    watermarks: &mut Watermarks,
    memory: &Memory,
    metrics: &Metrics,
) -> Result<Job, StoreError> {
    let mut replay = wal::replay(&directories.wal, number, watermarks)?;
    if replay.torn_bytes > 0 {
        metrics.torn_bytes.inc_by(replay.torn_bytes);
        tracing::info!(
            log = number,
            bytes = replay.torn_bytes,
            "the last write was cut off; nothing of it had been acknowledged"
        );
    }
    *watermarks = replay.watermarks;
    let codec = Codec::new()?;
    let mut rows = 0;
    for entry in std::mem::take(&mut replay.batches) {
        let node = entry.mark.unwrap_or_default().node;
        let batch = Codec::unpack(&entry.packed).and_then(|frame| codec.decode(&frame));
        match batch.and_then(|batch| Ok((Facts::of(&batch)?, batch))) {
            Ok((facts, batch)) => {
                rows += facts.rows;
                memory.add(number, node, batch, facts);
            }
            Err(error) => replay.damaged.push(error.into()),
        }
    }
    let mut condition = LogCondition::Whole;
    for error in &replay.damaged {
        condition = LogCondition::Damaged;
        metrics.damaged.inc();
        tracing::error!(log = number, %error, "damaged log; the rest of it is used, and it is kept aside");
    }
    tracing::info!(log = number, rows, "read a log of an earlier run");
    Ok(Job {
        wal: number,
        condition,
    })
}
