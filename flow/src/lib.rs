//! The flow record, and every form it takes: filters, Arrow columns, Hubble's protobuf, text.

pub mod columns;
mod record;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
#[cfg(test)]
mod strategies;

pub use record::*;
