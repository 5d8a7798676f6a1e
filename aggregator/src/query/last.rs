//! The newest flows: segments from the newest backwards, until no older one can hold a newer row.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use weir_flow::request::FlowsRequest;
use weir_flow::{Item, Timestamp};

use super::segment::Segment;
use super::{Found, MAX_LAST, Sink};
use crate::store::StoreError;

/// Losses are not counted against the number; of them, the newest so many are kept.
const MAX_LOSSES: usize = 1000;

pub(super) fn last(
    segments: Vec<Segment>,
    query: &FlowsRequest,
    number: u64,
    sink: Sink<'_>,
) -> ControlFlow<()> {
    let mut newest = Newest {
        flows: Bounded::new(usize::try_from(number.min(MAX_LAST)).unwrap_or(usize::MAX)),
        losses: Bounded::new(MAX_LOSSES),
    };
    // By what is known without reading: a footer is read only of files that may matter.
    let mut segments = segments;
    segments.sort_by_key(|segment| segment.rough_span().1);
    while let Some(segment) = segments.pop() {
        if newest.is_behind(segment.rough_span().1) {
            break;
        }
        if newest.is_behind(segment.span().1) {
            continue;
        }
        if let Err(error) = newest.read(segment, query) {
            sink(Found::Problem(error))?;
        }
    }
    for item in newest.into_items() {
        sink(Found::Item(item))?;
    }
    ControlFlow::Continue(())
}

struct Newest {
    flows: Bounded,
    losses: Bounded,
}

impl Newest {
    /// Whether rows that are no newer than this cannot be among the newest.
    fn is_behind(&self, newest: Timestamp) -> bool {
        self.flows
            .oldest_if_full()
            .is_some_and(|oldest| newest < oldest)
    }

    fn read(&mut self, segment: Segment, query: &FlowsRequest) -> Result<(), StoreError> {
        let mut chunks = segment.open()?;
        while let Some(items) = chunks.next(query) {
            for item in items? {
                match item {
                    Item::Flow(_) => self.flows.push(item),
                    Item::Loss(_) => self.losses.push(item),
                }
            }
        }
        Ok(())
    }

    /// The flows and the losses among them, in order of time.
    fn into_items(self) -> Vec<Item> {
        let from = self.flows.oldest_if_full();
        let losses = self.losses.heap.into_iter().map(|entry| entry.item);
        let losses = losses.filter(|loss| from.is_none_or(|from| loss.time() >= from));
        let flows = self.flows.heap.into_iter().map(|entry| entry.item);
        let mut items: Vec<_> = flows.chain(losses).collect();
        items.sort_by_key(Item::time);
        items
    }
}

/// The newest items, the oldest of them on top.
struct Bounded {
    heap: BinaryHeap<Entry>,
    bound: usize,
}

struct Entry {
    time: Timestamp,
    item: Item,
}

impl Bounded {
    fn new(bound: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            bound,
        }
    }

    fn push(&mut self, item: Item) {
        let time = item.time();
        if self.oldest_if_full().is_some_and(|oldest| time <= oldest) {
            return;
        }
        if self.heap.len() == self.bound {
            self.heap.pop();
        }
        self.heap.push(Entry { time, item });
    }

    fn oldest_if_full(&self) -> Option<Timestamp> {
        let full = self.heap.len() >= self.bound;
        self.heap.peek().filter(|_| full).map(|entry| entry.time)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.time.cmp(&self.time)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

impl Eq for Entry {}
