//! Reading history: recent batches and Parquet files as one stream in order of time.

mod last;
mod merge;
mod segment;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use weir_flow::Item;
use weir_flow::request::{FlowsRequest, Take};

use crate::store::{Snapshot, StoreError};

/// The most that `last` keeps in memory while it looks for the newest.
pub const MAX_LAST: u64 = 1_000_000;

/// What is found.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "problems are rare, and boxing items would cost each"
)]
pub enum Found {
    /// A flow or a loss.
    Item(Item),
    /// A file that cannot be read; the others are read nevertheless.
    Problem(StoreError),
}

/// Where results go; `Break` if the client wants no more.
pub type Sink<'a> = &'a mut dyn FnMut(Found) -> ControlFlow<()>;

/// Hands everything that is asked for to `sink`, in order of time. Blocks: reads files.
pub fn run(request: &FlowsRequest, snapshot: Snapshot, sink: Sink<'_>) -> ControlFlow<()> {
    let segments = segment::segments(snapshot, request);
    match request.take {
        // Hubble's CLI asks for the last 2^64-1 when it wants all.
        Take::All | Take::Last(u64::MAX) => merge::merge(segments, request, None, sink),
        Take::First(number) => merge::merge(segments, request, Some(number), sink),
        Take::Last(0) => ControlFlow::Continue(()),
        Take::Last(number) => last::last(segments, request, number, sink),
    }
}
