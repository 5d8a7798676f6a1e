//! The Parquet files: where they lie, what times they cover, and reading them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::statistics::Statistics;
use weir_flow::Timestamp;

use super::error::StoreError;

const HOUR: i64 = 3_600_000_000_000;
/// Rows per batch when reading: small, because a query may read many files side by side.
const READ_ROWS: usize = 2048;

/// A Parquet file. Its rows are sorted by time and lie within one hour.
#[derive(Debug)]
pub struct LakeFile {
    /// Where it is.
    pub path: PathBuf,
    /// The log it was sealed from.
    pub wal: u64,
    /// Its size.
    pub bytes: u64,
    hour: i64,
    /// Times of its first and last row, read from its footer when first needed.
    span: OnceLock<(Timestamp, Timestamp)>,
}

impl LakeFile {
    pub(super) fn new(path: PathBuf, wal: u64, bytes: u64, hour: i64) -> Self {
        Self {
            path,
            wal,
            bytes,
            hour,
            span: OnceLock::new(),
        }
    }

    /// Sets the span that a new file is known to have.
    pub(super) fn with_span(self, oldest: Timestamp, newest: Timestamp) -> Self {
        self.span.get_or_init(|| (oldest, newest));
        self
    }

    /// First and last time in the file. If the footer does not tell, its hour.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let start = self.hour.saturating_mul(HOUR);
        let hour = (Timestamp(start), Timestamp(start.saturating_add(HOUR - 1)));
        *self
            .span
            .get_or_init(|| footer_span(&self.path).unwrap_or(hour))
    }

    /// The hour that the file's directory names, without opening the file.
    pub fn hour_span(&self) -> (Timestamp, Timestamp) {
        let start = self.hour.saturating_mul(HOUR);
        (Timestamp(start), Timestamp(start.saturating_add(HOUR - 1)))
    }

    /// Its batches, in order of time.
    ///
    /// # Errors
    /// The file is gone or no Parquet file; the error names it.
    pub fn read(&self) -> Result<LakeReader, StoreError> {
        let file = File::open(&self.path).map_err(StoreError::io("opening", &self.path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(READ_ROWS).build())
            .map_err(|source| StoreError::Parquet {
                path: self.path.clone(),
                source,
            })?;
        Ok(LakeReader {
            path: self.path.clone(),
            reader,
        })
    }
}

/// Batches of one file.
pub struct LakeReader {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl LakeReader {
    /// The error for a row of this file that cannot be understood.
    pub(crate) fn damaged(&self, what: &dyn std::fmt::Display) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what: what.to_string(),
        }
    }
}

impl Iterator for LakeReader {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| self.damaged(&error)))
    }
}

fn footer_span(path: &Path) -> Option<(Timestamp, Timestamp)> {
    let file = File::open(path).ok()?;
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).ok()?;
    let column = metadata.schema().index_of("time").ok()?;
    let column = metadata
        .parquet_schema()
        .columns()
        .iter()
        .position(|leaf| leaf.path().parts().first().map(String::as_str) == Some("time"))
        .unwrap_or(column);
    let mut span: Option<(i64, i64)> = None;
    for group in metadata.metadata().row_groups() {
        let Some(Statistics::Int64(times)) = group.column(column).statistics() else {
            return None;
        };
        let (oldest, newest) = (*times.min_opt()?, *times.max_opt()?);
        span = Some(span.map_or((oldest, newest), |(a, b)| (a.min(oldest), b.max(newest))));
    }
    span.map(|(oldest, newest)| (Timestamp(oldest), Timestamp(newest)))
}

/// The hour since the epoch in which a time lies.
pub(super) fn hour_of(time: Timestamp) -> i64 {
    time.0.div_euclid(HOUR)
}

/// `date=2026-01-02/hour=15`.
pub(super) fn partition(hour: i64) -> String {
    let second = hour.saturating_mul(3600);
    let start = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    start.strftime("date=%Y-%m-%d/hour=%H").to_string()
}

fn parse_partition(date: &str, hour: &str) -> Option<i64> {
    let date = date.strip_prefix("date=")?;
    let hour = hour.strip_prefix("hour=")?;
    let start: jiff::Timestamp = format!("{date}T{hour}:00:00Z").parse().ok()?;
    Some(start.as_second().div_euclid(3600))
}

/// Finds the files below `flows`, leaving out those of logs that are still there: they are sealed again.
pub(super) fn scan(flows: &Path, logs: &[u64]) -> Result<Vec<Arc<LakeFile>>, StoreError> {
    let mut files = Vec::new();
    for date in entries(flows)? {
        for hour in entries(&date)? {
            let names = (file_name(&date), file_name(&hour));
            let Some(number) = parse_partition(names.0, names.1) else {
                tracing::warn!(path = %hour.display(), "not a partition of Weir's, left alone");
                continue;
            };
            for path in entries(&hour)? {
                let Some(wal) = file_name(&path)
                    .strip_suffix(".parquet")
                    .and_then(|name| name.parse().ok())
                else {
                    tracing::warn!(path = %path.display(), "not a file of Weir's, left alone");
                    continue;
                };
                let bytes = fs::metadata(&path)
                    .map_err(StoreError::io("reading", &path))?
                    .len();
                if !logs.contains(&wal) {
                    files.push(Arc::new(LakeFile::new(path, wal, bytes, number)));
                }
            }
        }
    }
    Ok(files)
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let list = || {
        fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut paths = list().map_err(StoreError::io("listing", directory))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_utc_hours_and_read_back() {
        for time in [0, 1_767_366_245_123_456_789, i64::MAX, -1] {
            let hour = hour_of(Timestamp(time));
            let name = partition(hour);
            let (date, clock) = name.split_once('/').unwrap();
            assert_eq!(parse_partition(date, clock), Some(hour), "{name}");
        }
        assert_eq!(
            partition(hour_of(Timestamp(1_767_366_245_123_456_789))),
            "date=2026-01-02/hour=15"
        );
    }
}
