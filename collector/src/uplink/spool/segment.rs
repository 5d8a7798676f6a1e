//! One append file of the spool: a header, then frames, each a batch with its number.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weir_flow::columns::SCHEMA_VERSION;
use weir_flow::framing::{self, Found};

use super::SpoolError;
use crate::uplink::Position;

/// Begin of every segment.
const MAGIC: [u8; 8] = *b"WEIRSPL1";
/// Before a frame's batch: its number and its rows.
const PREFIX: usize = 16;

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// End of the last whole frame.
    pub(super) length: u64,
    path: PathBuf,
    file: File,
}

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) position: Position,
    pub(super) rows: u64,
    pub(super) segment: u64,
    /// Where its packed batch begins, and how long it is.
    offset: u64,
    pub(super) length: u64,
}

/// What is in a segment of an earlier run.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) segment: Segment,
    pub(super) frames: Vec<Frame>,
    /// What is damaged; a torn last write is not damage, because it was never sent.
    pub(super) damage: Vec<String>,
    /// Records in damaged frames, as far as that is known.
    pub(super) lost_records: u64,
}

/// The segments of a directory, by number.
pub(super) fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, SpoolError> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).map_err(SpoolError::io("listing", directory))?;
    for entry in entries {
        let path = entry.map_err(SpoolError::io("listing", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".spool")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}

impl Segment {
    pub(super) fn create(directory: &Path, number: u64, epoch: u64) -> Result<Self, SpoolError> {
        let path = directory.join(format!("{number:020}.spool"));
        let mut header = MAGIC.to_vec();
        let mut payload = SCHEMA_VERSION.to_le_bytes().to_vec();
        payload.extend_from_slice(&epoch.to_le_bytes());
        framing::write(&mut header, &payload);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .and_then(|file| file.write_all_at(&header, 0).map(|()| file))
            .map_err(SpoolError::io("creating", &path))?;
        Ok(Self {
            number,
            epoch,
            length: header.len() as u64,
            path,
            file,
        })
    }

    /// Writes a batch; if that fails, the segment is as before.
    pub(super) fn append(
        &mut self,
        position: Position,
        rows: u64,
        packed: &[u8],
    ) -> Result<Frame, SpoolError> {
        let mut payload = Vec::with_capacity(PREFIX + packed.len());
        payload.extend_from_slice(&position.seq.to_le_bytes());
        payload.extend_from_slice(&rows.to_le_bytes());
        payload.extend_from_slice(packed);
        let mut bytes = Vec::new();
        framing::write(&mut bytes, &payload);
        if let Err(source) = self.file.write_all_at(&bytes, self.length) {
            // What cannot be cut off is overwritten by the next frame, or found torn at the next start.
            drop(self.file.set_len(self.length));
            return Err(SpoolError::io("writing", &self.path)(source));
        }
        self.length += bytes.len() as u64;
        Ok(Frame {
            position,
            rows,
            segment: self.number,
            offset: self.length - packed.len() as u64,
            length: packed.len() as u64,
        })
    }

    /// A frame's packed batch.
    pub(super) fn read(&self, frame: &Frame) -> Result<Bytes, SpoolError> {
        let mut bytes = vec![0; frame.length as usize];
        self.file
            .read_exact_at(&mut bytes, frame.offset)
            .map_err(SpoolError::io("reading", &self.path))?;
        Ok(bytes.into())
    }

    /// Removes the file; one that stays is found empty of news at the next start, and sent again for nothing.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a spool file that is done with stays");
        }
    }
}

/// Reads a segment of an earlier run.
pub(super) fn read(number: u64, path: &Path) -> Result<Read, SpoolError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(SpoolError::io("opening", path))?;
    let bytes = Bytes::from(fs::read(path).map_err(SpoolError::io("reading", path))?);
    let mut read = Read {
        segment: Segment {
            number,
            epoch: 0,
            length: bytes.len() as u64,
            path: path.to_owned(),
            file,
        },
        frames: Vec::new(),
        damage: Vec::new(),
        lost_records: 0,
    };
    let Some((version, epoch, start)) = header(&bytes) else {
        // Less than a header is what SIGKILL leaves of a new segment.
        if bytes.len() > 64 {
            read.damage.push("not a spool file of Weir's".to_owned());
        }
        return Ok(read);
    };
    read.segment.epoch = epoch;
    read.frames(&bytes, start);
    if version != SCHEMA_VERSION {
        read.damage
            .push(format!("its columns are of version {version}"));
        read.lost_records += read.frames.drain(..).map(|frame| frame.rows).sum::<u64>();
    }
    Ok(read)
}

fn header(bytes: &Bytes) -> Option<(u32, u64, usize)> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let Found::Frame(payload, start) = framing::read(bytes, MAGIC.len()) else {
        return None;
    };
    let version = u32::from_le_bytes(payload.get(..4)?.try_into().ok()?);
    let epoch = u64::from_le_bytes(payload.get(4..12)?.try_into().ok()?);
    Some((version, epoch, start))
}

impl Read {
    fn frames(&mut self, bytes: &Bytes, mut offset: usize) {
        loop {
            match framing::read(bytes, offset) {
                Found::End | Found::Torn => return,
                Found::Lost => {
                    self.damage.push(format!("damaged at byte {offset}"));
                    self.lost_records += 1;
                    return;
                }
                Found::Damaged(next) => {
                    self.damage.push(format!("wrong checksum at byte {offset}"));
                    self.lost_records += 1;
                    offset = next;
                }
                Found::Frame(payload, next) => {
                    self.frames.extend(self.frame(&payload, next));
                    offset = next;
                }
            }
        }
    }

    fn frame(&self, payload: &Bytes, end: usize) -> Option<Frame> {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let length = payload.len().checked_sub(PREFIX)?;
        Some(Frame {
            position: Position {
                epoch: self.segment.epoch,
                seq: number(0)?,
            },
            rows: number(8)?,
            segment: self.segment.number,
            offset: (end - length) as u64,
            length: length as u64,
        })
    }
}
