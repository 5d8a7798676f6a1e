//! What can be wrong with a batch.

use arrow_schema::ArrowError;

/// A batch could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// Building the arrays failed.
    #[error("making a record batch: {0}")]
    Build(#[source] ArrowError),
    /// A column is missing or has another type than [`super::COLUMNS`] says.
    #[error("column {column}: expected {expected}, found {found}")]
    Column {
        /// The column.
        column: &'static str,
        /// The expected type.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value that has to be there is null.
    #[error("column {column}, row {row}: no value")]
    Null {
        /// The column.
        column: &'static str,
        /// The row, from 0.
        row: usize,
    },
    /// A value outside its vocabulary.
    #[error("column {column}, row {row}: unknown value {value:?}")]
    Value {
        /// The column.
        column: &'static str,
        /// The row, from 0.
        row: usize,
        /// The value.
        value: String,
    },
    /// A frame's messages are not what [`super::Codec`] writes.
    #[error("decoding a batch frame of {length} bytes at byte {offset}: {what}")]
    Frame {
        /// Length of the whole frame.
        length: usize,
        /// Where the bad message begins.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// The schema is another version's.
    #[error("schema version {found}, this build reads version {expected}")]
    Version {
        /// The version found; empty if there is none.
        found: String,
        /// [`super::SCHEMA_VERSION`].
        expected: u32,
    },
}
