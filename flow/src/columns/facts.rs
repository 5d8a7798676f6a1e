//! What a batch holds, without reading its rows one by one.

use std::collections::BTreeSet;

use arrow_array::{Array, RecordBatch, TimestampNanosecondArray, UInt64Array};

use super::error::ColumnsError;
use super::texts::{Texts, column};
use crate::Timestamp;

/// What a batch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Rows.
    pub rows: u64,
    /// Time of the oldest row.
    pub oldest: Timestamp,
    /// Time of the newest row.
    pub newest: Timestamp,
    /// Records that its loss records count.
    pub lost_records: u64,
    /// Packets that its loss records count.
    pub lost_packets: u64,
    /// Namespaces of both sides.
    pub namespaces: BTreeSet<String>,
}

impl Facts {
    /// Looks at a batch's columns.
    ///
    /// # Errors
    /// A column is missing or of another type.
    pub fn of(batch: &RecordBatch) -> Result<Self, ColumnsError> {
        let times: &TimestampNanosecondArray = column(batch, "time", "Timestamp(ns)")?;
        let times = times.values();
        let mut namespaces = BTreeSet::new();
        for name in ["local_namespace", "remote_namespace"] {
            let texts = Texts::new(batch, name)?;
            let values = texts.values().iter().filter(|value| !value.is_empty());
            namespaces.extend(values.map(ToString::to_string));
        }
        Ok(Self {
            rows: batch.num_rows() as u64,
            oldest: Timestamp(times.iter().copied().min().unwrap_or_default()),
            newest: Timestamp(times.iter().copied().max().unwrap_or_default()),
            lost_records: sum(batch, "loss_records")?,
            lost_packets: sum(batch, "loss_packets")?,
            namespaces,
        })
    }
}

fn sum(batch: &RecordBatch, name: &'static str) -> Result<u64, ColumnsError> {
    let values: &UInt64Array = column(batch, name, "UInt64")?;
    if values.null_count() == values.len() {
        return Ok(0);
    }
    Ok(values.iter().flatten().fold(0, u64::wrapping_add))
}
