//! The count of what was refused, in a file of fixed size: it survives SIGKILL, and a full disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_flow::Timestamp;

use super::SpoolError;
use crate::uplink::Position;

/// What was refused and not told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) records: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// The batch that tells it, while that is being written: if it is there after a crash, it is told.
    pub(super) reported_in: Option<Position>,
}

impl Refused {
    pub(super) fn is_nothing(&self) -> bool {
        self.records == 0 && self.packets == 0
    }

    pub(super) fn add(&mut self, records: u64, packets: u64, bytes: u64, at: Timestamp) {
        if records == 0 && packets == 0 {
            return;
        }
        if self.is_nothing() {
            self.from = at;
        }
        self.records += records;
        self.packets += packets;
        self.bytes += bytes;
        self.to = at;
        self.reported_in = None;
    }
}

/// Seven numbers and their checksum.
const LENGTH: usize = 7 * 8 + 4;

#[derive(Debug)]
pub(super) struct RefusedFile {
    path: PathBuf,
    file: File,
}

impl RefusedFile {
    /// Opens the file and reads the counts; a file that is none counts nothing.
    pub(super) fn open(path: &Path) -> Result<(Self, Refused), SpoolError> {
        let refused = fs::read(path).ok().and_then(|bytes| decode(&bytes));
        let refused = refused.unwrap_or_default();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(SpoolError::io("opening", path))?;
        let file = Self {
            path: path.to_owned(),
            file,
        };
        file.write(&refused)?;
        Ok((file, refused))
    }

    /// One write of a few bytes: SIGKILL leaves the old ones or the new ones.
    pub(super) fn write(&self, refused: &Refused) -> Result<(), SpoolError> {
        let bytes = encode(refused);
        self.file
            .write_all_at(&bytes, 0)
            .map_err(SpoolError::io("writing", &self.path))
    }
}

fn encode(refused: &Refused) -> Vec<u8> {
    let reported = refused.reported_in;
    let numbers = [
        refused.records,
        refused.packets,
        refused.bytes,
        refused.from.0 as u64,
        refused.to.0 as u64,
        reported.map_or(0, |position| position.epoch),
        reported.map_or(0, |position| position.seq),
    ];
    let mut bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Refused> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let (numbers, crc) = bytes.split_at(LENGTH - 4);
    if crc32fast::hash(numbers).to_le_bytes() != crc {
        return None;
    }
    let mut numbers = numbers.chunks_exact(8).map(|bytes| {
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    });
    let mut next = || numbers.next();
    let (records, packets, bytes) = (next()?, next()?, next()?);
    let (from, to) = (next()? as i64, next()? as i64);
    let (epoch, seq) = (next()?, next()?);
    Some(Refused {
        records,
        packets,
        bytes,
        from: Timestamp(from),
        to: Timestamp(to),
        reported_in: (seq > 0).then_some(Position { epoch, seq }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_and_damaged_ones_are_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("refused");
        let (file, nothing) = RefusedFile::open(&path).unwrap();
        assert!(nothing.is_nothing());
        let mut refused = Refused::default();
        refused.add(3, 0, 0, Timestamp(-5));
        refused.add(2, 7, 700, Timestamp(9));
        refused.reported_in = Some(Position { epoch: 4, seq: 2 });
        file.write(&refused).unwrap();
        assert_eq!(RefusedFile::open(&path).unwrap().1, refused);
        assert_eq!(
            (refused.records, refused.from, refused.to),
            (5, Timestamp(-5), Timestamp(9))
        );
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(RefusedFile::open(&path).unwrap().1.is_nothing());
    }
}
