//! The flow record, and every form it takes: filters, Arrow columns, Hubble's protobuf, text.

pub mod columns;
pub mod filter;
pub mod framing;
pub mod hubble;
mod record;
pub mod request;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod sides;
#[cfg(test)]
mod strategies;
pub mod text;

pub use record::*;
pub use sides::Side;
