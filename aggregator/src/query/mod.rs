//! Reading history: recent batches and Parquet files as one stream in order of time.

mod last;
mod merge;
mod segment;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use weir_flow::filter::Filters;
use weir_flow::{Item, Timestamp};

use crate::store::{Snapshot, StoreError};

/// The most that `last` keeps in memory while it looks for the newest.
pub const MAX_LAST: u64 = 1_000_000;

/// What is asked.
#[derive(Debug, Default)]
pub struct Query {
    /// Which flows. Losses always pass.
    pub filters: Filters,
    /// From when on.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// How many.
    pub take: Take,
}

/// How many flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Take {
    /// All.
    #[default]
    All,
    /// The oldest so many.
    First(u64),
    /// The newest so many, at most [`MAX_LAST`].
    Last(u64),
}

/// What is found.
#[derive(Debug)]
pub enum Found {
    /// A flow or a loss.
    Item(Item),
    /// A file that cannot be read; the others are read nevertheless.
    Problem(StoreError),
}

/// Where results go; `Break` if the client wants no more.
pub type Sink<'a> = &'a mut dyn FnMut(Found) -> ControlFlow<()>;

impl Query {
    /// Hands everything that matches to `sink`, in order of time. Blocks: reads files.
    pub fn run(&self, snapshot: Snapshot, sink: Sink<'_>) -> ControlFlow<()> {
        let segments = segment::segments(snapshot, self);
        match self.take {
            Take::All => merge::merge(segments, self, None, sink),
            Take::First(number) => merge::merge(segments, self, Some(number), sink),
            Take::Last(number) => last::last(segments, self, number, sink),
        }
    }

    /// Whether a time is in the range.
    pub fn in_range(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// Whether an item is asked for.
    pub fn wants(&self, item: &Item) -> bool {
        self.in_range(item.time()) && self.filters.pass(item)
    }
}
