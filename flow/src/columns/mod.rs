//! Records as columns: the Arrow schema, building batches of items and reading them back.
//!
//! Loss records lie in the same table, as rows of kind `loss`, so that they keep their place in the order and share
//! the acknowledgement of the records around them.

mod build;
mod error;
mod facts;
mod frame;
mod read;
mod schema;
mod sides;
#[cfg(test)]
mod tests;
mod texts;

pub use build::{BatchBuilder, Room, to_batch};
pub use error::ColumnsError;
pub use facts::Facts;
pub use frame::{Codec, MAX_FRAME_BYTES, Message};
pub use read::Rows;
pub use schema::{COLUMNS, Column, ColumnKind, DOC_KEY, SCHEMA_VERSION, VERSION_KEY, schema};
