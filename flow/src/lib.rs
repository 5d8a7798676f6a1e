//! The flow record, and every form it takes: filters, Arrow columns, Hubble's protobuf, text.

mod record;

pub use record::*;
