//! A log's rows to Parquet files: one per hour, sorted by time, named after the log.
//!
//! The names make sealing repeatable: a crash in the middle leaves the log, and sealing it again writes the same rows
//! to the same names. Only when all files are in place is the log removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use weir_flow::Timestamp;
use weir_flow::columns::{Rows, schema};

use super::error::StoreError;
use super::lake::{LakeFile, hour_of, partition};
use super::memory::StoredBatch;
use super::wal::sync_directory;

/// Rows per row group: what a reader can skip by its statistics.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Where the files go.
#[derive(Clone, Debug)]
pub(super) struct Directories {
    pub(super) wal: PathBuf,
    pub(super) flows: PathBuf,
    /// Files in the making; on the same file system.
    pub(super) temporary: PathBuf,
    /// Damaged logs.
    pub(super) damaged: PathBuf,
}

impl Directories {
    pub(super) fn create(data: &Path) -> Result<Self, StoreError> {
        let directories = Self {
            wal: data.join("wal"),
            flows: data.join("flows"),
            temporary: data.join("tmp"),
            damaged: data.join("damaged"),
        };
        for path in [
            &directories.wal,
            &directories.flows,
            &directories.temporary,
            &directories.damaged,
        ] {
            fs::create_dir_all(path).map_err(StoreError::io("creating", path))?;
        }
        let left = fs::read_dir(&directories.temporary)
            .map_err(StoreError::io("listing", &directories.temporary))?;
        for entry in left.flatten() {
            let path = entry.path();
            fs::remove_file(&path).map_err(StoreError::io("removing", &path))?;
        }
        sync_directory(data)?;
        Ok(directories)
    }
}

/// Writes the Parquet files of a log.
///
/// # Errors
/// Nothing of the log is lost then, and the next attempt begins anew.
pub(super) fn seal(
    directories: &Directories,
    wal: u64,
    batches: &[Arc<StoredBatch>],
) -> Result<Vec<Arc<LakeFile>>, StoreError> {
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let (rows, times) = sorted(batches)?;
    let mut finished = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let hour = hour_of(times[start]);
        let same = times[start..].partition_point(|time| hour_of(*time) == hour);
        let part = rows.slice(start, same);
        let temporary = directories.temporary.join(format!("{wal:020}-{hour}"));
        write(&temporary, &part)?;
        let span = (times[start], times[start + same - 1]);
        finished.push((temporary, hour, span));
        start += same;
    }
    let mut files = Vec::with_capacity(finished.len());
    for (temporary, hour, span) in finished {
        files.push(Arc::new(place(directories, &temporary, wal, hour, span)?));
    }
    Ok(files)
}

fn place(
    directories: &Directories,
    temporary: &Path,
    wal: u64,
    hour: i64,
    (oldest, newest): (Timestamp, Timestamp),
) -> Result<LakeFile, StoreError> {
    let directory = directories.flows.join(partition(hour));
    fs::create_dir_all(&directory).map_err(StoreError::io("creating", &directory))?;
    let path = directory.join(format!("{wal:020}.parquet"));
    let bytes = fs::metadata(temporary)
        .map_err(StoreError::io("reading", temporary))?
        .len();
    fs::rename(temporary, &path).map_err(StoreError::io("placing", &path))?;
    // The partition may be new, and so may the day above it.
    let mut above = Some(directory.as_path());
    while let Some(directory) = above.filter(|path| path.starts_with(&directories.flows)) {
        sync_directory(directory)?;
        above = directory.parent();
    }
    Ok(LakeFile::new(path, wal, bytes, hour).with_span(oldest, newest))
}

/// All rows in order of time, and the times.
fn sorted(batches: &[Arc<StoredBatch>]) -> Result<(RecordBatch, Vec<Timestamp>), StoreError> {
    let schema = schema();
    let batches: Vec<_> = batches.iter().map(|batch| &batch.rows).collect();
    let rows = arrow_select::concat::concat_batches(&schema, batches)?;
    let times = Rows::new(&rows)?;
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|row| times.time(*row as usize));
    let sorted = order.iter().map(|row| times.time(*row as usize)).collect();
    let rows = arrow_select::take::take_record_batch(&rows, &UInt32Array::from(order))?;
    Ok((rows, sorted))
}

fn write(path: &Path, rows: &RecordBatch) -> Result<(), StoreError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let file = File::create(path).map_err(StoreError::io("creating", path))?;
    let written =
        ArrowWriter::try_new(file, rows.schema(), Some(properties)).and_then(|mut writer| {
            writer.write(rows)?;
            writer.into_inner()
        });
    let file = written.map_err(|source| StoreError::Parquet {
        path: path.to_owned(),
        source,
    })?;
    file.sync_all().map_err(StoreError::io("syncing", path))
}

/// Removes a sealed log; a damaged one is kept aside.
pub(super) fn remove_log(
    directories: &Directories,
    wal: u64,
    condition: LogCondition,
) -> Result<(), StoreError> {
    let path = super::wal::path(&directories.wal, wal);
    match condition {
        LogCondition::Whole => match fs::remove_file(&path) {
            // An earlier attempt got this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(StoreError::io("removing", &path))?,
        },
        LogCondition::Damaged if !path.exists() => {}
        LogCondition::Damaged => {
            let aside = super::wal::path(&directories.damaged, wal);
            fs::rename(&path, &aside).map_err(StoreError::io("setting aside", &path))?;
            sync_directory(&directories.damaged)?;
        }
    }
    sync_directory(&directories.wal)
}

/// What a log was like when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogCondition {
    Whole,
    Damaged,
}
