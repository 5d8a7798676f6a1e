//! One write-ahead log: what was acknowledged lies here until it is sealed into Parquet files.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use weir_flow::columns::SCHEMA_VERSION;
use weir_flow::framing::{self, Found};

use super::entry::{BatchEntry, Checkpoint, Entry, Kind, MAGIC, Watermarks};
use super::error::StoreError;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Wal {
    pub(super) number: u64,
    path: PathBuf,
    file: File,
    /// End of what is known to be on disk.
    length: u64,
}

/// `{number}.wal` in `directory`.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.wal"))
}

/// The numbers of the logs in `directory`, ascending.
pub(super) fn list(directory: &Path) -> Result<Vec<u64>, StoreError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(StoreError::io("listing", directory))? {
        let entry = entry.map_err(StoreError::io("listing", directory))?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".wal")?.parse().ok());
        numbers.extend::<Option<u64>>(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a change of a directory's entries durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("syncing", directory))
}

impl Wal {
    /// Begins a log whose first frame says what was acknowledged before. It is on disk on return.
    pub(super) fn create(
        directory: &Path,
        number: u64,
        watermarks: &Watermarks,
    ) -> Result<Self, StoreError> {
        let path = path(directory, number);
        let checkpoint = Checkpoint {
            marks: watermarks.marks(),
            schema_version: SCHEMA_VERSION,
        };
        let entry = Entry {
            kind: Some(Kind::Checkpoint(checkpoint)),
        };
        let mut bytes = MAGIC.to_vec();
        framing::write(&mut bytes, &entry.encode_to_vec());
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(StoreError::io("creating", &path));
        // A half-made log would be in the way of the next attempt.
        let file = file.inspect_err(|_| drop(fs::remove_file(&path)))?;
        sync_directory(directory)?;
        Ok(Self {
            number,
            path,
            file,
            length: bytes.len() as u64,
        })
    }

    /// Appends frames and waits until they are on disk. If it fails, nothing of them stays.
    pub(super) fn append(&mut self, frames: &[u8]) -> Result<Duration, StoreError> {
        let write = self.file.write_all_at(frames, self.length);
        let synced = write.and_then(|()| {
            let begin = Instant::now();
            self.file.sync_data().map(|()| begin.elapsed())
        });
        match synced {
            Ok(time) => {
                self.length += frames.len() as u64;
                Ok(time)
            }
            Err(source) => {
                // If this fails too, the log is not used again: see Writer::rotate_broken.
                drop(self.file.set_len(self.length));
                Err(StoreError::io("writing", &self.path)(source))
            }
        }
    }

    /// Bytes on disk.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// What a log of an earlier run holds.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) watermarks: Watermarks,
    pub(super) batches: Vec<BatchEntry>,
    /// Bytes behind the last whole frame: a write that a crash cut off, hence never acknowledged.
    pub(super) torn_bytes: u64,
    /// Damaged places.
    pub(super) damaged: Vec<StoreError>,
}

/// Reads a log. Batches that the watermarks cover are left out, so that a batch in two logs counts once.
pub(super) fn replay(
    directory: &Path,
    number: u64,
    known: &Watermarks,
) -> Result<Replay, StoreError> {
    let path = path(directory, number);
    let bytes = Bytes::from(fs::read(&path).map_err(StoreError::io("reading", &path))?);
    let mut replay = Replay {
        watermarks: known.clone(),
        ..Replay::default()
    };
    let damaged = |what: String| StoreError::Damaged {
        path: path.clone(),
        what,
    };
    if !bytes.starts_with(&MAGIC) {
        // A crash while the log was made leaves a prefix of the magic; nothing was acknowledged in it.
        if MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            replay.torn_bytes = bytes.len() as u64;
        } else {
            replay
                .damaged
                .push(damaged("not a log of Weir's".to_owned()));
        }
        return Ok(replay);
    }
    let mut offset = MAGIC.len();
    loop {
        match framing::read(&bytes, offset) {
            Found::End => return Ok(replay),
            Found::Torn => {
                replay.torn_bytes = (bytes.len() - offset) as u64;
                return Ok(replay);
            }
            Found::Lost => {
                let rest = bytes.len() - offset;
                let what = format!("damaged at byte {offset}: {rest} bytes cannot be read");
                replay.damaged.push(damaged(what));
                return Ok(replay);
            }
            Found::Damaged(next) => {
                let what = format!("wrong checksum at byte {offset}: {} bytes", next - offset);
                replay.damaged.push(damaged(what));
                offset = next;
            }
            Found::Frame(payload, next) => {
                if let Err(what) = replay.take(payload) {
                    let what = format!("unreadable entry at byte {offset}: {what}");
                    replay.damaged.push(damaged(what));
                }
                offset = next;
            }
        }
    }
}

impl Replay {
    fn take(&mut self, payload: Bytes) -> Result<(), String> {
        let entry = Entry::decode(payload).map_err(|error| error.to_string())?;
        match entry.kind {
            Some(Kind::Checkpoint(checkpoint)) => {
                if checkpoint.schema_version != SCHEMA_VERSION {
                    let version = checkpoint.schema_version;
                    return Err(format!("its columns are of version {version}"));
                }
                for mark in Watermarks::of(&checkpoint.marks).marks() {
                    self.watermarks.advance(&mark.node, mark.epoch, mark.seq);
                }
            }
            Some(Kind::Batch(batch)) => {
                let mark = batch.mark.clone().ok_or("a batch without a number")?;
                if !self.watermarks.covers(&mark.node, mark.epoch, mark.seq) {
                    self.watermarks.advance(&mark.node, mark.epoch, mark.seq);
                    self.batches.push(batch);
                }
            }
            None => return Err("of an unknown kind".to_owned()),
        }
        Ok(())
    }
}
