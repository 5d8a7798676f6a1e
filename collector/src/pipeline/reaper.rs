//! The end of an entry: marked in the kernel, left alone for a grace time, read for the last time, deleted.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use weir_datapath::abi::flow_state::RETIRED;
use weir_flow::{EndReason, Item};

use super::book::Book;
use super::entries::Entry;
use crate::assemble::{Assembler, Disposition, EntryKey, WallClock};
use crate::endpoints::EndpointView;
use crate::kernel::{FlowTables, KernelError};

/// The most entries that one turn reads and deletes: the rings must not wait for a mass end.
const READS: usize = 4096;

/// Entries on their way out.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    /// What the present sweep found to have ended.
    wanted: Vec<(EntryKey, EndReason)>,
    /// Marked, and not deleted yet.
    marked: HashMap<EntryKey, EndReason, foldhash::fast::RandomState>,
    /// The same in order, and from when they may be read.
    due: VecDeque<(Instant, EntryKey)>,
}

impl Reaper {
    /// Takes what a sweep says about an entry. One that an earlier run marked and did not delete has ended, too.
    pub(super) fn consider(&mut self, key: EntryKey, state: u32, disposition: Disposition) {
        let why = match disposition {
            Disposition::Retire(why) => why,
            Disposition::Keep if state & RETIRED != 0 => EndReason::Idle,
            Disposition::Keep => return,
        };
        if !self.marked.contains_key(&key) {
            self.wanted.push((key, why));
        }
    }

    /// Marks what the sweep found to have ended.
    pub(super) fn retire(
        &mut self,
        tables: &FlowTables,
        endpoints: &EndpointView,
    ) -> Result<(), KernelError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable_by_key(|(key, _)| (table(key), key.endpoint()));
        for same in
            wanted.chunk_by(|(a, _), (b, _)| (table(a), a.endpoint()) == (table(b), b.endpoint()))
        {
            let slot = endpoints.slot(same[0].0.endpoint());
            mark(tables, slot, same)?;
            let due = Instant::now() + FlowTables::GRACE;
            for (key, why) in same {
                self.marked.insert(*key, *why);
                self.due.push_back((due, *key));
            }
        }
        Ok(())
    }

    /// Whether there is something to read.
    pub(super) fn is_due(&self) -> bool {
        self.due
            .front()
            .is_some_and(|(due, _)| *due <= Instant::now())
    }

    /// Reads entries whose grace time is over. They are to be deleted when `items` have been delivered.
    pub(super) fn read(
        &mut self,
        tables: &FlowTables,
        assembler: &mut Assembler,
        book: &mut Book,
        clock: &WallClock,
        items: &mut Vec<Item>,
    ) -> Result<Vec<EntryKey>, KernelError> {
        let now = Instant::now();
        let mut read = Vec::new();
        while read.len() < READS
            && let Some((due, key)) = self.due.front().copied()
            && due <= now
        {
            let why = self.marked.get(&key).copied().unwrap_or(EndReason::Idle);
            let mut last = Last {
                tables,
                assembler: &mut *assembler,
                book: &mut *book,
                clock,
                items: &mut *items,
                why,
            };
            let result = match key {
                EntryKey::Flow4(key) => last.read(&key),
                EntryKey::Flow6(key) => last.read(&key),
                EntryKey::Denial4(key) => last.read(&key),
                EntryKey::Denial6(key) => last.read(&key),
            };
            match result {
                Ok(()) => {}
                Err(error) if read.is_empty() => return Err(error),
                Err(_) => break, // the next turn begins with it, and says so
            }
            self.due.pop_front();
            read.push(key);
        }
        Ok(read)
    }

    /// Deletes entries that were read. One that cannot be deleted is met, and marked, by the next sweep again.
    pub(super) fn delete(
        &mut self,
        tables: &mut FlowTables,
        read: Vec<EntryKey>,
    ) -> Result<(), KernelError> {
        let mut result = Ok(());
        for key in read {
            self.marked.remove(&key);
            let deleted = match key {
                EntryKey::Flow4(key) => tables.delete(&key),
                EntryKey::Flow6(key) => tables.delete(&key),
                EntryKey::Denial4(key) => tables.delete(&key),
                EntryKey::Denial6(key) => tables.delete(&key),
            };
            result = result.and(deleted);
        }
        result
    }
}

/// A last reading.
struct Last<'a> {
    tables: &'a FlowTables,
    assembler: &'a mut Assembler,
    book: &'a mut Book,
    clock: &'a WallClock,
    items: &'a mut Vec<Item>,
    why: EndReason,
}

impl Last<'_> {
    fn read<K: Entry>(&mut self, key: &K) -> Result<(), KernelError> {
        let Some(value) = self.tables.read(key)? else {
            return Ok(());
        };
        self.book.ended(key, &value);
        let items = &mut *self.items;
        key.finish(self.assembler, &value, self.why, self.clock, &mut |item| {
            items.push(item)
        });
        Ok(())
    }
}

/// Orders keys by table.
fn table(key: &EntryKey) -> u8 {
    match key {
        EntryKey::Flow4(_) => 0,
        EntryKey::Flow6(_) => 1,
        EntryKey::Denial4(_) => 2,
        EntryKey::Denial6(_) => 3,
    }
}

/// Marks entries of one table and one endpoint.
fn mark(
    tables: &FlowTables,
    slot: Option<u32>,
    same: &[(EntryKey, EndReason)],
) -> Result<(), KernelError> {
    macro_rules! keys {
        ($variant:ident) => {{
            let keys = same.iter().filter_map(|(key, _)| match key {
                EntryKey::$variant(key) => Some(*key),
                _ => None,
            });
            tables.retire(slot, &keys.collect::<Vec<_>>())
        }};
    }
    let marked = match same[0].0 {
        EntryKey::Flow4(_) => keys!(Flow4),
        EntryKey::Flow6(_) => keys!(Flow6),
        EntryKey::Denial4(_) => keys!(Denial4),
        EntryKey::Denial6(_) => keys!(Denial6),
    };
    marked.map(|_| ())
}
