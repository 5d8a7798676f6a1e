//! What was said about which living entry.
//!
//! Entries lie one behind another and a table of their places stands beside them. A table of the entries themselves
//! would have a node's many short flows touch a page of memory each.

use std::hash::BuildHasher;
use std::iter;

use hashbrown::HashTable;
use weir_flow::{Endpoint, EndpointKind, Record};

use super::draft::{Facts, Judged};
use crate::names::{IdentityNumbers, Names};

/// What was last said about an entry.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) record: Record,
    /// The verdict in it, as the kernel has it.
    pub(super) judged: Judged,
    /// When it was said (CLOCK_MONOTONIC, ns): the wall clock may step.
    pub(super) said_ns: u64,
    /// The sweep that last met it.
    pub(super) generation: u32,
}

impl Tracked {
    /// Whether it was said before more was known of the pod than its name, or before it was known whose the other address
    /// is, and now it is.
    pub(super) fn is_named_since(&self, facts: &Facts, names: &Names) -> bool {
        let record = &self.record;
        let is_labelled = |endpoint: &Endpoint| endpoint.identity != IdentityNumbers::UNKNOWN;
        let is_known = |endpoint: &Endpoint| endpoint.kind != EndpointKind::Unknown;
        let local = || is_labelled(&names.read().local(facts.tuple.endpoint).endpoint);
        let remote = || is_known(names.read().address(record.remote_ip, record.last_seen));
        !is_labelled(&record.local) && local() || !is_known(&record.remote) && remote()
    }
}

/// By serial.
#[derive(Debug)]
pub(super) struct TrackedEntries {
    entries: Vec<Tracked>,
    /// Indexes of `entries`.
    places: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
}

impl TrackedEntries {
    pub(super) fn with_capacity(expected: usize) -> Self {
        Self {
            entries: Vec::with_capacity(expected),
            places: HashTable::with_capacity(expected),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, serial: u64) -> bool {
        self.get(serial).is_some()
    }

    pub(super) fn get(&self, serial: u64) -> Option<&Tracked> {
        self.entries.get(self.place(serial)?)
    }

    pub(super) fn get_mut(&mut self, serial: u64) -> Option<&mut Tracked> {
        let place = self.place(serial)?;
        self.entries.get_mut(place)
    }

    /// Adds the entry of a `serial` that is not in it. A closure makes it in its place: see [`super::event`].
    #[inline]
    pub(super) fn add(&mut self, serial: u64, make: impl FnOnce() -> Tracked) {
        let place = self.entries.len() as u32;
        self.entries.extend(iter::once_with(make));
        let (entries, hasher) = (&self.entries, &self.hasher);
        let rehash = |place: &u32| hasher.hash_one(serial_at(entries, *place));
        self.places
            .insert_unique(hasher.hash_one(serial), place, rehash);
    }

    pub(super) fn remove(&mut self, serial: u64) {
        let entries = &mut self.entries;
        let is_it = |place: &u32| serial_at(entries, *place) == serial;
        let Ok(found) = self.places.find_entry(self.hasher.hash_one(serial), is_it) else {
            return;
        };
        let (place, _) = found.remove();
        let last = entries.len() as u32 - 1;
        // The last one takes its place.
        let moved = self.hasher.hash_one(serial_at(entries, last));
        if let Some(moved) = self.places.find_mut(moved, |place| *place == last) {
            *moved = place;
        }
        entries.swap_remove(place as usize);
    }

    /// Forgets what `keep` refuses.
    pub(super) fn retain(&mut self, keep: impl Fn(&Tracked) -> bool) {
        let mut place = 0;
        while let Some(tracked) = self.entries.get(place) {
            if keep(tracked) {
                place += 1;
            } else {
                self.remove(tracked.record.id.serial);
            }
        }
    }

    fn place(&self, serial: u64) -> Option<usize> {
        let is_it = |place: &u32| serial_at(&self.entries, *place) == serial;
        let place = self.places.find(self.hasher.hash_one(serial), is_it)?;
        Some(*place as usize)
    }
}

fn serial_at(entries: &[Tracked], place: u32) -> u64 {
    entries[place as usize].record.id.serial
}
