//! The recent store: the last items of this node in memory, for `GetFlows` and live followers.
//!
//! One writer (the pipeline), any number of readers with a cursor each. A full store overwrites its oldest item; a
//! reader that was overtaken is told how many it missed, so that it can say so in its stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_flow::Item;

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Recent {
    ring: Arc<Mutex<Ring>>,
    /// The number of items ever written; wakes followers.
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    items: VecDeque<Arc<Item>>,
    capacity: usize,
    written: u64,
}

/// What a reader got.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Items in the order they were written.
    pub items: Vec<Arc<Item>>,
    /// How many were overwritten before the first of `items`.
    pub missed: u64,
    /// The cursor to read on from.
    pub next: u64,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Items in it.
    pub items: u64,
    /// Items it can hold.
    pub capacity: u64,
    /// Items ever written.
    pub written: u64,
}

impl Recent {
    /// A store for `capacity` items.
    pub fn new(capacity: usize) -> Self {
        let ring = Ring {
            items: VecDeque::with_capacity(capacity),
            capacity: capacity.max(1),
            written: 0,
        };
        Self {
            ring: Arc::new(Mutex::new(ring)),
            written: watch::Sender::new(0),
        }
    }

    /// Appends items and wakes followers once.
    pub fn append(&self, items: impl IntoIterator<Item = Arc<Item>>) {
        let mut ring = self.lock();
        for item in items {
            if ring.items.len() == ring.capacity {
                ring.items.pop_front();
            }
            ring.items.push_back(item);
            ring.written += 1;
        }
        let written = ring.written;
        drop(ring);
        self.written
            .send_if_modified(|seen| std::mem::replace(seen, written) != written);
    }

    /// The cursor at the oldest item there is.
    pub fn begin(&self) -> u64 {
        let ring = self.lock();
        ring.written - ring.items.len() as u64
    }

    /// Reads at most `limit` items from `cursor` on.
    pub fn read(&self, cursor: u64, limit: usize) -> Chunk {
        let ring = self.lock();
        let oldest = ring.written - ring.items.len() as u64;
        let start = cursor.max(oldest);
        let items: Vec<_> = ring
            .items
            .iter()
            .skip((start - oldest) as usize)
            .take(limit)
            .cloned()
            .collect();
        Chunk {
            missed: start - cursor.min(start),
            next: start + items.len() as u64,
            items,
        }
    }

    /// The cursor behind the newest item.
    pub fn end(&self) -> u64 {
        self.lock().written
    }

    /// Fires whenever items have been appended.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        let ring = self.lock();
        Fill {
            items: ring.items.len() as u64,
            capacity: ring.capacity as u64,
            written: ring.written,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A panicking reader cannot leave the ring half changed: every change is one push or pop.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_flow::{LossPlace, LossRecord, Timestamp};

    fn item(n: u64) -> Arc<Item> {
        Arc::new(Item::Loss(LossRecord {
            time: Timestamp(n as i64),
            node: "n".into(),
            place: LossPlace::Uplink,
            endpoint: None,
            records: n,
            packets: 0,
            bytes: 0,
            from: Timestamp(0),
            to: Timestamp(0),
        }))
    }

    #[test]
    fn an_overtaken_reader_learns_how_many_it_missed() {
        let recent = Recent::new(3);
        recent.append([item(1), item(2)]);
        let first = recent.read(0, 1);
        assert_eq!((first.items.len(), first.next), (1, 1));
        recent.append([item(3), item(4), item(5)]);
        let rest = recent.read(first.next, 10);
        assert_eq!((rest.items.len(), rest.missed, rest.next), (3, 1, 5));
        assert_eq!(recent.read(rest.next, 10).items.len(), 0);
    }

    #[test]
    fn a_reader_of_the_empty_store_is_told_what_it_missed_too() {
        let recent = Recent::new(2);
        let cursor = recent.begin();
        recent.append((1..=5).map(item));
        assert_eq!(recent.read(cursor, 10).missed, 3);
    }

    #[test]
    fn a_new_reader_of_an_overwritten_store_missed_nothing_it_asked_for() {
        let recent = Recent::new(2);
        recent.append((1..=5).map(item));
        let chunk = recent.read(recent.begin(), 10);
        assert_eq!((chunk.items.len(), chunk.missed), (2, 0));
    }
}
