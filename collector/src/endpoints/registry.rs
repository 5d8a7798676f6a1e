//! Endpoint numbers and slots, kept across restarts: flow entries and records outlive a process, and name endpoints by
//! number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_datapath::abi::{ENDPOINT_PROBES, ENDPOINT_SLOTS};

use crate::boot;
use crate::state::{StateDir, StateError};

const FILE: &str = "endpoints.json";
/// Endpoint numbers have 24 bits.
const LAST_ID: u32 = (1 << 24) - 1;
/// How many endpoints that are gone stay in the file, for the entries they left.
const GONE: usize = 512;

/// Why an endpoint got no number or slot.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// All slots where the programs would look for the interface are taken.
    #[error(
        "no endpoint slot for interface {ifindex}: the {ENDPOINT_PROBES} it could have are taken"
    )]
    NoSlot {
        /// The interface.
        ifindex: u32,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// An endpoint as the file remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) id: u32,
    pub(super) slot: u32,
    pub(super) ifindex: u32,
    /// The pod, as far as it is known.
    pub(super) pod: Option<KnownPod>,
    /// It is no more; its number is kept for what it left.
    pub(super) gone: bool,
}

/// A pod as the file remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    /// Interface numbers and maps are another boot's otherwise.
    boot: String,
    next_id: u32,
    endpoints: Vec<Known>,
}

/// All numbers in use.
#[derive(Debug)]
pub(super) struct Registry {
    state: StateDir,
    boot: String,
    next_id: u32,
    endpoints: BTreeMap<u32, Known>,
}

impl Registry {
    /// Reads the file. What an earlier boot left is forgotten, save where its numbers ended.
    pub(super) fn open(state: StateDir) -> Result<Self, StateError> {
        let boot = boot::id();
        let file: Option<File> = state.load(FILE)?;
        let next_id = file.as_ref().map_or(1, |file| file.next_id);
        let endpoints = file
            .filter(|file| file.boot == boot)
            .map(|file| file.endpoints)
            .unwrap_or_default();
        let endpoints = endpoints
            .into_iter()
            .map(|known| (known.id, known))
            .collect();
        Ok(Self {
            state,
            boot,
            next_id,
            endpoints,
        })
    }

    /// The endpoints that were there when the file was last written, gone ones included.
    pub(super) fn known(&self) -> impl Iterator<Item = &Known> {
        self.endpoints.values()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Known> {
        self.endpoints.get(&id)
    }

    /// Gives an interface a number and a slot, on disk before the caller sees them.
    pub(super) fn allocate(&mut self, ifindex: u32) -> Result<(u32, u32), RegistryError> {
        let taken = |slot: u32| {
            self.endpoints
                .values()
                .any(|known| !known.gone && known.slot == slot)
        };
        let mut probes =
            (0..ENDPOINT_PROBES).map(|probe| ifindex.wrapping_add(probe) % ENDPOINT_SLOTS);
        let slot = probes
            .find(|slot| !taken(*slot))
            .ok_or(RegistryError::NoSlot { ifindex })?;
        let id = self.free_id();
        self.next_id = if id == LAST_ID { 1 } else { id + 1 };
        self.endpoints.insert(
            id,
            Known {
                id,
                slot,
                ifindex,
                pod: None,
                gone: false,
            },
        );
        self.save()?;
        Ok((id, slot))
    }

    /// Takes over an endpoint that is in the maps but not in the file.
    pub(super) fn adopt(&mut self, id: u32, slot: u32, ifindex: u32) -> Result<(), StateError> {
        let adopted = Known {
            id,
            slot,
            ifindex,
            pod: None,
            gone: false,
        };
        self.endpoints.entry(id).or_insert(adopted);
        self.next_id = self.next_id.max((id % LAST_ID) + 1);
        self.save()
    }

    /// Remembers whose it is.
    pub(super) fn bind(&mut self, id: u32, pod: Option<KnownPod>) -> Result<(), StateError> {
        let Some(known) = self.endpoints.get_mut(&id).filter(|known| known.pod != pod) else {
            return Ok(());
        };
        known.pod = pod;
        self.save()
    }

    /// Frees its slot.
    pub(super) fn release(&mut self, id: u32) -> Result<(), StateError> {
        if let Some(known) = self.endpoints.get_mut(&id) {
            known.gone = true;
        }
        let gone: Vec<u32> = self
            .endpoints
            .values()
            .filter(|known| known.gone)
            .map(|known| known.id)
            .collect();
        for id in &gone[..gone.len().saturating_sub(GONE)] {
            self.endpoints.remove(id);
        }
        self.save()
    }

    fn free_id(&self) -> u32 {
        let mut id = self.next_id.clamp(1, LAST_ID);
        while self.endpoints.contains_key(&id) {
            id = if id == LAST_ID { 1 } else { id + 1 };
        }
        id
    }

    fn save(&self) -> Result<(), StateError> {
        let endpoints = self.endpoints.values().cloned().collect();
        let file = File {
            boot: self.boot.clone(),
            next_id: self.next_id,
            endpoints,
        };
        self.state.save(FILE, &file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &std::path::Path) -> Registry {
        Registry::open(StateDir::open(directory).unwrap()).unwrap()
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_are_not_given_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = open(directory.path());
        assert_eq!(registry.allocate(7).unwrap(), (1, 7));
        let pod = KnownPod {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
        };
        registry.bind(1, Some(pod.clone())).unwrap();
        let mut registry = open(directory.path());
        assert_eq!(registry.get(1).unwrap().pod, Some(pod));
        registry.release(1).unwrap();
        assert_eq!(registry.allocate(7).unwrap(), (2, 7));
        assert_eq!(open(directory.path()).known().count(), 2);
    }

    #[test]
    fn interfaces_that_share_a_slot_take_the_next_until_none_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = open(directory.path());
        let slots: Vec<u32> = (0..4)
            .map(|i| registry.allocate(5 + i * ENDPOINT_SLOTS).unwrap().1)
            .collect();
        assert_eq!(slots, [5, 6, 7, 8]);
        let error = registry
            .allocate(5 + 4 * ENDPOINT_SLOTS)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no endpoint slot"), "{error}");
    }
}
