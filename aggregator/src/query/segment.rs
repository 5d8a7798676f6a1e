//! A batch or a file: something with a span of time whose rows are read only if they can matter.

use std::sync::Arc;

use arrow_array::RecordBatch;
use weir_flow::columns::{ColumnsError, Rows};
use weir_flow::request::FlowsRequest;
use weir_flow::{Item, Timestamp};

use crate::store::{LakeFile, LakeReader, Snapshot, StoreError, StoredBatch};

/// A source of rows.
#[derive(Debug)]
pub(super) enum Segment {
    Batch(Arc<StoredBatch>),
    File(Arc<LakeFile>),
}

/// All sources that have something in the query's range.
pub(super) fn segments(snapshot: Snapshot, query: &FlowsRequest) -> Vec<Segment> {
    let batches = snapshot.batches.into_iter().map(Segment::Batch);
    let files = snapshot.files.into_iter().map(Segment::File);
    batches
        .chain(files)
        .filter(|segment| {
            let (oldest, newest) = segment.rough_span();
            query.since.is_none_or(|since| newest >= since)
                && query.until.is_none_or(|until| oldest <= until)
        })
        .collect()
}

impl Segment {
    /// A span that covers the rows, known without reading anything.
    pub(super) fn rough_span(&self) -> (Timestamp, Timestamp) {
        match self {
            Self::Batch(batch) => (batch.facts.oldest, batch.facts.newest),
            Self::File(file) => file.hour_span(),
        }
    }

    /// The span of the rows; of a file, from its footer.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        match self {
            Self::Batch(batch) => (batch.facts.oldest, batch.facts.newest),
            Self::File(file) => file.span(),
        }
    }

    pub(super) fn open(self) -> Result<Chunks, StoreError> {
        Ok(match self {
            Self::Batch(batch) => Chunks::Batch(Some(batch)),
            Self::File(file) => Chunks::File(file.read()?),
        })
    }
}

/// The rows of a segment, piece by piece.
pub(super) enum Chunks {
    Batch(Option<Arc<StoredBatch>>),
    File(LakeReader),
}

impl Chunks {
    /// The next piece's rows that the query wants, in order of time; `None` at the end.
    pub(super) fn next(&mut self, query: &FlowsRequest) -> Option<Result<Vec<Item>, StoreError>> {
        match self {
            Self::Batch(batch) => {
                let batch = batch.take()?;
                Some(decode(&batch.rows, query).map_err(StoreError::from))
            }
            Self::File(reader) => {
                let batch = reader.next()?;
                Some(batch.and_then(|batch| {
                    decode(&batch, query).map_err(|error| reader.damaged(&error))
                }))
            }
        }
    }
}

/// The rows that the query wants, in order of time.
pub(super) fn decode(batch: &RecordBatch, query: &FlowsRequest) -> Result<Vec<Item>, ColumnsError> {
    let mut rows = Rows::new(batch)?;
    let mut items = Vec::new();
    for row in 0..rows.len() {
        if query.in_range(rows.time(row)) {
            let item = rows.item(row)?;
            if query.filters.pass(&item) {
                items.push(item);
            }
        }
    }
    items.sort_by_key(Item::time);
    Ok(items)
}
