//! The spool: batches in append files, from when they are made until the aggregator has them.

mod refused;
mod segment;
mod told;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use weir_flow::columns::{BatchBuilder, Codec, ColumnsError, Room};
use weir_flow::{Item, LossPlace, LossRecord, Timestamp};

use self::refused::{Refused, RefusedFile};
use self::segment::{Frame, Segment};
use self::told::Told;
use super::Position;
use super::admission::Pressure;

/// The spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another collector uses it.
    #[error("{}: in use by another collector", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The columns cannot be set up.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
}

impl SpoolError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Rows of one batch at most.
const BATCH_ROWS: usize = 8192;
/// Bytes of one batch, before it is packed, about at most.
const BATCH_BYTES: usize = 4 << 20;

/// The spool.
pub(super) struct Spool {
    directory: PathBuf,
    node: Arc<str>,
    max_bytes: u64,
    position: Position,
    acked: Option<Position>,
    builder: BatchBuilder,
    codec: Codec,
    segments: VecDeque<Segment>,
    /// The unacknowledged frames, oldest first.
    frames: VecDeque<Frame>,
    unacked_bytes: u64,
    /// The newest batch that was found of each earlier epoch. Those before it were written before it.
    found: BTreeMap<u64, u64>,
    /// Number of the next segment.
    next_segment: u64,
    refused: Refused,
    refused_file: RefusedFile,
    refused_total: u64,
    told: Told,
    write: WriteState,
    /// Keeps other collectors away.
    _lock: File,
}

/// Whether the last write succeeded, so that a full disk is logged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteState {
    Working,
    Failing,
}

/// A frame to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) position: Position,
    pub(super) packed: Bytes,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool")
            .field("position", &self.position)
            .field("unacked_bytes", &self.unacked_bytes)
            .finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the directory and finds what an earlier run left.
    pub(super) fn open(
        directory: &Path,
        node: Arc<str>,
        max_bytes: u64,
    ) -> Result<Self, SpoolError> {
        fs::create_dir_all(directory).map_err(SpoolError::io("creating", directory))?;
        let lock = lock(&directory.join("lock"))?;
        let (refused_file, refused) = RefusedFile::open(&directory.join("refused"))?;
        let mut spool = Self {
            directory: directory.to_owned(),
            node,
            max_bytes,
            position: Position { epoch: 0, seq: 0 },
            acked: None,
            builder: BatchBuilder::new(BATCH_ROWS, BATCH_BYTES),
            codec: Codec::new()?,
            segments: VecDeque::new(),
            frames: VecDeque::new(),
            unacked_bytes: 0,
            found: BTreeMap::new(),
            next_segment: 1,
            refused,
            refused_file,
            refused_total: 0,
            told: Told::default(),
            write: WriteState::Working,
            _lock: lock,
        };
        spool.find_segments()?;
        let newest = spool.found.keys().next_back();
        // Later than all before it even if the clock went back.
        let started = u64::try_from(now().0).unwrap_or_default();
        spool.position.epoch = started.max(newest.map_or(1, |newest| newest + 1));
        // The report of a loss got into its frame before the counts were cleared.
        let reported = spool.refused.reported_in;
        if spool
            .frames
            .iter()
            .any(|frame| Some(frame.position) == reported)
        {
            spool.refused = Refused::default();
        }
        spool.refused.reported_in = None;
        spool.save_refused();
        spool.flush();
        Ok(spool)
    }

    fn find_segments(&mut self) -> Result<(), SpoolError> {
        for (number, path) in segment::list(&self.directory)? {
            self.next_segment = number + 1;
            let found = segment::read(number, &path)?;
            for damage in &found.damage {
                tracing::error!(path = %path.display(), %damage, "damaged spool");
            }
            let time = now();
            self.refused.add(found.lost_records, 0, 0, time);
            self.refused_total += found.lost_records;
            if found.frames.is_empty() {
                fs::remove_file(&path).map_err(SpoolError::io("removing", &path))?;
                continue;
            }
            for Position { epoch, seq } in found.frames.iter().map(|frame| frame.position) {
                let newest = self.found.entry(epoch).or_default();
                *newest = seq.max(*newest);
            }
            self.unacked_bytes += found.frames.iter().map(|frame| frame.length).sum::<u64>();
            self.frames.extend(found.frames);
            self.segments.push_back(found.segment);
        }
        Ok(())
    }

    /// Takes items into memory, and makes batches when enough have come.
    pub(super) fn push<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) {
        let before = self.refused;
        for item in items {
            if !Pressure::of(self.unacked_bytes, self.max_bytes).admits(item) {
                self.refuse(item);
                continue;
            }
            self.told.admitted(item);
            if self.builder.push(item) == Room::Full {
                self.flush();
            }
        }
        if self.refused != before {
            self.save_refused();
        }
    }

    /// Makes one batch of these few items alone. `before` hears its position before it is written, so that a crash at
    /// any point leaves no doubt whether they were: see [`Spool::has`].
    pub(super) fn append_apart<'a>(
        &mut self,
        items: impl IntoIterator<Item = &'a Item>,
        before: impl FnOnce(Position),
    ) {
        self.flush();
        before(self.next_position());
        self.push(items);
        self.flush();
    }

    /// Whether a batch of an earlier run was on disk at the start: the sender may have got rid of it since.
    pub(super) fn has(&self, position: Position) -> bool {
        let newest = self.found.get(&position.epoch);
        newest.is_some_and(|newest| position.seq <= *newest)
    }

    fn next_position(&self) -> Position {
        Position {
            seq: self.position.seq + 1,
            ..self.position
        }
    }

    /// Makes a batch of what is in memory and writes it.
    pub(super) fn flush(&mut self) {
        let report = self.report();
        if self.builder.is_empty() {
            return;
        }
        let rows = self.builder.rows() as u64 - u64::from(report.is_some());
        let next = self.next_position();
        let packed = self
            .builder
            .finish()
            .and_then(|batch| self.codec.encode(&batch))
            .map(|frame| Codec::pack(&frame));
        let written = match packed {
            Ok(packed) => self.write(next, rows, &packed, report),
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(()) => self.write = WriteState::Working,
            Err(error) => {
                if self.write == WriteState::Working {
                    tracing::warn!(%error, "records for the aggregator cannot be kept, counting them");
                }
                self.write = WriteState::Failing;
                self.lose(rows);
            }
        }
    }

    fn write(
        &mut self,
        position: Position,
        rows: u64,
        packed: &[u8],
        report: Option<Refused>,
    ) -> Result<(), SpoolError> {
        if let Some(reported) = report {
            self.refused_file.write(&Refused {
                reported_in: Some(position),
                ..reported
            })?;
        }
        let segment = self.segment()?;
        let frame = segment.append(position, rows, packed)?;
        self.unacked_bytes += frame.length;
        self.frames.push_back(frame);
        self.position = position;
        if report.is_some() {
            self.refused = Refused::default();
            self.refused_file.write(&self.refused)?;
        }
        Ok(())
    }

    /// The segment to append to.
    fn segment(&mut self) -> Result<&mut Segment, SpoolError> {
        let segment_bytes = (self.max_bytes / 16).clamp(64 << 10, 16 << 20);
        let epoch = self.position.epoch;
        let usable = |segment: &Segment| segment.epoch == epoch && segment.length < segment_bytes;
        if !self.segments.back().is_some_and(usable) {
            let segment = Segment::create(&self.directory, self.next_segment, epoch)?;
            self.next_segment += 1;
            self.segments.push_back(segment);
        }
        Ok(self.segments.back_mut().expect("it was just made sure of"))
    }

    /// The loss to be told with the next batch, once there is room again; its record is in the builder then.
    fn report(&mut self) -> Option<Refused> {
        let room = Pressure::of(self.unacked_bytes, self.max_bytes) < Pressure::High;
        if self.refused.is_nothing() || !room {
            return None;
        }
        self.builder.push(&Item::Loss(LossRecord {
            time: now(),
            node: self.node.clone(),
            place: LossPlace::Uplink,
            endpoint: None,
            records: self.refused.records,
            packets: self.refused.packets,
            bytes: self.refused.bytes,
            from: self.refused.from,
            to: self.refused.to,
        }));
        Some(self.refused)
    }

    fn refuse(&mut self, item: &Item) {
        // What a loss record counts is still lost, only from here on as part of another loss.
        let (records, packets, bytes) = match item {
            Item::Flow(record) => {
                let (packets, bytes) = self.told.refused(record);
                (1, packets, bytes)
            }
            Item::Loss(loss) => (loss.records, loss.packets, loss.bytes),
        };
        self.refused.add(records, packets, bytes, now());
        self.refused_total += records;
    }

    fn lose(&mut self, records: u64) {
        self.refused.add(records, 0, 0, now());
        self.refused_total += records;
        self.save_refused();
    }

    fn save_refused(&self) {
        if let Err(error) = self.refused_file.write(&self.refused) {
            tracing::debug!(%error, "the count of lost records is in memory only");
        }
    }

    /// The first frame behind `sent`, or the oldest there is.
    pub(super) fn next(&self, sent: Option<Position>) -> Result<Option<Outgoing>, SpoolError> {
        let index = match sent {
            None => 0,
            Some(sent) => self.frames.partition_point(|frame| frame.position <= sent),
        };
        let Some(frame) = self.frames.get(index) else {
            return Ok(None);
        };
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.number == frame.segment);
        let segment = segment.expect("a segment stays as long as one of its frames");
        Ok(Some(Outgoing {
            position: frame.position,
            packed: segment.read(frame)?,
        }))
    }

    /// Drops a frame that cannot be read, as a loss.
    pub(super) fn give_up(&mut self, sent: Option<Position>) {
        let index = match sent {
            None => 0,
            Some(sent) => self.frames.partition_point(|frame| frame.position <= sent),
        };
        if let Some(frame) = self.frames.remove(index) {
            self.unacked_bytes -= frame.length;
            self.lose(frame.rows);
            self.remove_segments();
        }
    }

    /// The aggregator has everything of this epoch up to this batch.
    pub(super) fn acknowledge(&mut self, acked: Position) {
        while let Some(frame) = self.frames.front()
            && frame.position <= acked
        {
            self.unacked_bytes -= frame.length;
            self.frames.pop_front();
        }
        self.acked = Some(acked);
        self.remove_segments();
        if !self.refused.is_nothing() {
            self.flush();
        }
    }

    fn remove_segments(&mut self) {
        while let Some(segment) = self.segments.front() {
            let needed = self
                .frames
                .iter()
                .any(|frame| frame.segment == segment.number);
            if needed || self.segments.len() == 1 && segment.epoch == self.position.epoch {
                return;
            }
            if let Some(segment) = self.segments.pop_front() {
                segment.remove();
            }
        }
    }

    /// The newest batch in the spool.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn has_buffered(&self) -> bool {
        !self.builder.is_empty()
    }

    pub(super) fn schema_message(&self) -> Bytes {
        self.codec.schema_message()
    }

    pub(super) fn unacked_bytes(&self) -> u64 {
        self.unacked_bytes
    }

    pub(super) fn unacked_batches(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Unacknowledged batches up to `sent`.
    pub(super) fn in_flight(&self, sent: Option<Position>) -> usize {
        sent.map_or(0, |sent| {
            self.frames.partition_point(|frame| frame.position <= sent)
        })
    }

    pub(super) fn acked(&self) -> Option<Position> {
        self.acked
    }

    pub(super) fn refused_records(&self) -> u64 {
        self.refused_total
    }
}

fn lock(path: &Path) -> Result<File, SpoolError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(SpoolError::io("opening", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(SpoolError::io("locking", path)(source)),
    }
}

fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_nanosecond();
    Timestamp(i64::try_from(now).unwrap_or(i64::MAX))
}
