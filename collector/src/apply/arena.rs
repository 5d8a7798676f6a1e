//! The arena of port tables: one array of ranges, in which equal tables are stored once. A table is immutable while a
//! verdict refers to it, and its place is used again only after a grace time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_datapath::abi::{PortRange, PortTable};

/// No stretch of the arena is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArenaFull;

/// Whether a table's ranges are in the map already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// They have to be written before a verdict refers to them.
    New(PortTable),
    /// They are there.
    Shared(PortTable),
}

/// Which stretches are free, and who shares the others.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    /// Start → length; never adjacent.
    free: BTreeMap<u32, u32>,
    tables: HashMap<Arc<[PortRange]>, Stretch>,
    by_first: HashMap<u32, Arc<[PortRange]>>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u32,
    references: u32,
}

impl Arena {
    /// An empty arena of `capacity` ranges.
    pub(super) fn new(capacity: u32) -> Self {
        let free = if capacity == 0 {
            BTreeMap::new()
        } else {
            BTreeMap::from([(0, capacity)])
        };
        Self {
            free,
            tables: HashMap::new(),
            by_first: HashMap::new(),
        }
    }

    /// Finds or makes room for a table and takes a reference to it.
    pub(super) fn acquire(&mut self, ranges: &[PortRange]) -> Result<Placed, ArenaFull> {
        let count = ranges.len() as u32;
        if let Some(stretch) = self.tables.get_mut(ranges) {
            stretch.references += 1;
            return Ok(Placed::Shared(PortTable {
                first: stretch.first,
                count,
            }));
        }
        let first = self.allocate(count)?;
        self.enter(first, ranges.into());
        Ok(Placed::New(PortTable { first, count }))
    }

    /// Takes over a table of an earlier run; the same again adds a reference.
    pub(super) fn adopt(&mut self, first: u32, ranges: Arc<[PortRange]>) {
        if let Some(known) = self.by_first.get(&first) {
            if let Some(stretch) = self.tables.get_mut(known) {
                stretch.references += 1;
            }
            return;
        }
        self.occupy(first, ranges.len() as u32);
        self.enter(first, ranges);
    }

    fn enter(&mut self, first: u32, ranges: Arc<[PortRange]>) {
        self.by_first.insert(first, Arc::clone(&ranges));
        self.tables.insert(
            ranges,
            Stretch {
                first,
                references: 1,
            },
        );
    }

    /// Gives a reference back. True if it was the last: the stretch is to be freed after the grace time.
    pub(super) fn release(&mut self, first: u32) -> bool {
        let stretch = self
            .by_first
            .get(&first)
            .and_then(|ranges| self.tables.get_mut(ranges));
        let Some(stretch) = stretch else { return false };
        stretch.references = stretch.references.saturating_sub(1);
        stretch.references == 0
    }

    /// Frees a stretch whose grace time is over, unless it has been acquired again.
    pub(super) fn free(&mut self, first: u32) {
        let Some(ranges) = self.by_first.get(&first) else {
            return;
        };
        if self
            .tables
            .get(ranges)
            .is_some_and(|stretch| stretch.references > 0)
        {
            return;
        }
        let Some(ranges) = self.by_first.remove(&first) else {
            return;
        };
        self.tables.remove(&ranges);
        self.give_back(first, ranges.len() as u32);
    }

    /// Ranges that tables occupy.
    pub(super) fn used(&self) -> u32 {
        self.tables.keys().map(|ranges| ranges.len() as u32).sum()
    }

    /// First fit: tables are short, and the arena is far larger than what is in use.
    fn allocate(&mut self, count: u32) -> Result<u32, ArenaFull> {
        let fit = self.free.iter().find(|(_, length)| **length >= count);
        let (&first, &length) = fit.ok_or(ArenaFull)?;
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        Ok(first)
    }

    /// Takes a stretch of an earlier run out of the free ones.
    fn occupy(&mut self, first: u32, count: u32) {
        let Some((&start, &length)) = self.free.range(..=first).next_back() else {
            return;
        };
        let (end, free_end) = (first + count, start + length);
        if free_end < end {
            return;
        }
        self.free.remove(&start);
        if first > start {
            self.free.insert(start, first - start);
        }
        if free_end > end {
            self.free.insert(end, free_end - end);
        }
    }

    fn give_back(&mut self, first: u32, count: u32) {
        let (mut start, mut length) = (first, count);
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.free.remove(&before);
            (start, length) = (before, size + count);
        }
        if let Some(size) = self.free.remove(&(first + count)) {
            length += size;
        }
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(seed: u32, count: u32) -> Vec<PortRange> {
        (0..count)
            .map(|i| PortRange {
                low: i,
                high: i,
                rule: seed,
                reserved: 0,
            })
            .collect()
    }

    fn first(placed: Placed) -> u32 {
        match placed {
            Placed::New(table) | Placed::Shared(table) => table.first,
        }
    }

    #[test]
    fn equal_tables_share_a_stretch_until_the_last_reference_goes() {
        let mut arena = Arena::new(8);
        let one = arena.acquire(&table(1, 3)).unwrap();
        assert!(matches!(one, Placed::New(_)));
        assert!(matches!(
            arena.acquire(&table(1, 3)).unwrap(),
            Placed::Shared(_)
        ));
        assert!(!arena.release(first(one)));
        assert!(arena.release(first(one)));
        assert!(matches!(
            arena.acquire(&table(1, 3)).unwrap(),
            Placed::Shared(_)
        ));
        arena.free(first(one)); // acquired again within the grace time: stays
        assert_eq!(arena.used(), 3);
    }

    #[test]
    fn a_full_arena_says_so_and_works_again_once_freed() {
        let mut arena = Arena::new(4);
        let one = first(arena.acquire(&table(1, 3)).unwrap());
        assert_eq!(arena.acquire(&table(2, 2)), Err(ArenaFull));
        assert!(arena.release(one));
        assert_eq!(
            arena.acquire(&table(2, 2)),
            Err(ArenaFull),
            "not before the grace time"
        );
        arena.free(one);
        assert_eq!(first(arena.acquire(&table(2, 4)).unwrap()), 0);
    }

    #[test]
    fn adopted_tables_keep_their_place() {
        let mut arena = Arena::new(10);
        arena.adopt(4, table(1, 2).into());
        arena.adopt(4, table(1, 2).into());
        assert!(matches!(
            arena.acquire(&table(1, 2)).unwrap(),
            Placed::Shared(PortTable { first: 4, count: 2 })
        ));
        assert_eq!(first(arena.acquire(&table(2, 4)).unwrap()), 0);
        assert_eq!(first(arena.acquire(&table(3, 4)).unwrap()), 6);
        assert_eq!(arena.acquire(&table(4, 1)), Err(ArenaFull));
    }

    proptest! {
        #[test]
        fn no_two_living_tables_overlap(steps in proptest::collection::vec((0_u32..6, 1_u32..5, any::<bool>()), 1..80)) {
            let mut arena = Arena::new(24);
            let mut held: Vec<(u32, u32, u32)> = Vec::new(); // seed, first, count
            for (seed, count, take) in steps {
                if take {
                    if let Ok(placed) = arena.acquire(&table(seed, count)) {
                        held.push((seed, first(placed), count));
                    }
                } else if let Some((_, first, _)) = held.pop() && arena.release(first) {
                    arena.free(first);
                }
                for (i, a) in held.iter().enumerate() {
                    for b in &held[i + 1..] {
                        let apart = a.1 + a.2 <= b.1 || b.1 + b.2 <= a.1;
                        prop_assert!(apart || (a.0 == b.0 && a.2 == b.2), "{a:?} {b:?}");
                    }
                }
                let free: u32 = arena.free.values().sum();
                prop_assert_eq!(free + arena.used(), 24);
            }
        }
    }
}
