//! All segments merged by time, oldest first. A segment is opened when the merge reaches its span, so that memory holds
//! only what overlaps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::vec::IntoIter;

use weir_flow::request::FlowsRequest;
use weir_flow::{Item, Timestamp};

use super::segment::{Chunks, Segment};
use super::{Found, Sink};
use crate::store::StoreError;

/// Merges; at most `limit` flows.
pub(super) fn merge(
    mut segments: Vec<Segment>,
    query: &FlowsRequest,
    limit: Option<u64>,
    sink: Sink<'_>,
) -> ControlFlow<()> {
    segments.sort_by_key(|segment| segment.rough_span().0);
    let mut merge = Merge {
        query,
        waiting: segments.into_iter().peekable(),
        cursors: Vec::new(),
        heads: BinaryHeap::new(),
        problems: Vec::new(),
    };
    let mut left = limit.unwrap_or(u64::MAX);
    while left > 0
        && let Some(found) = merge.next()
    {
        if matches!(found, Found::Item(Item::Flow(_))) {
            left -= 1;
        }
        sink(found)?;
    }
    ControlFlow::Continue(())
}

/// An open segment, and its rows that come next.
struct Cursor {
    chunks: Chunks,
    items: IntoIter<Item>,
}

struct Merge<'a> {
    query: &'a FlowsRequest,
    waiting: Peekable<IntoIter<Segment>>,
    cursors: Vec<Cursor>,
    /// The next item's time of each cursor that has one.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// What could not be read: its file is left out from there on.
    problems: Vec<StoreError>,
}

impl Merge<'_> {
    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(problem) = self.problems.pop() {
                return Some(Found::Problem(problem));
            }
            let head = self.heads.peek().map(|Reverse((time, _))| *time);
            let due = |segment: &Segment| head.is_none_or(|head| segment.rough_span().0 <= head);
            if let Some(segment) = self.waiting.next_if(due) {
                self.open(segment);
                continue;
            }
            let Reverse((_, index)) = self.heads.pop()?;
            let item = self.cursors[index].items.next();
            self.advance(index);
            if let Some(item) = item {
                return Some(Found::Item(item));
            }
        }
    }

    fn open(&mut self, segment: Segment) {
        match segment.open() {
            Ok(chunks) => {
                let items = Vec::new().into_iter();
                self.cursors.push(Cursor { chunks, items });
                self.advance(self.cursors.len() - 1);
            }
            Err(error) => self.problems.push(error),
        }
    }

    /// Makes the cursor's next item a head, reading on if there is none in hand.
    fn advance(&mut self, index: usize) {
        let cursor = &mut self.cursors[index];
        while cursor.items.as_slice().is_empty() {
            match cursor.chunks.next(self.query) {
                Some(Ok(items)) => cursor.items = items.into_iter(),
                ended => {
                    cursor.chunks = Chunks::Batch(None);
                    self.problems.extend(ended.and_then(Result::err));
                    return;
                }
            }
        }
        let time = cursor.items.as_slice()[0].time();
        self.heads.push(Reverse((time, index)));
    }
}
