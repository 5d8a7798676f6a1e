//! Which identities and sets are in use, and what they stand for.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::class::Class;
use super::sets::SetKey;
use crate::tables::{
    Frontend, IdentityId, NodeAddress, Peer, PortTable, RuleId, SetId, Tables, Write,
};

/// Something that has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    Frontend(Frontend),
    Peer(IpAddr),
    Network(IpNet),
}

impl Place {
    /// What tables hold for it.
    pub(crate) fn held(&self, tables: &Tables) -> Option<Peer> {
        match self {
            Self::Frontend(frontend) => tables.frontends.get(frontend).map(|identity| Peer {
                identity: *identity,
                node: NodeAddress::No,
            }),
            Self::Peer(address) => tables.peers.get(address).copied(),
            Self::Network(cidr) => tables.networks.get(cidr).copied(),
        }
    }

    /// What a lookup of it finds in the tables, whether they hold it or something beneath.
    pub(crate) fn found(&self, tables: &Tables) -> Peer {
        let network = |identity| Peer {
            identity,
            node: NodeAddress::No,
        };
        self.held(tables).unwrap_or_else(|| match self {
            Self::Frontend(frontend) => Self::Peer(frontend.address).found(tables),
            Self::Peer(address) => network(tables.network(*address)),
            Self::Network(cidr) => network(
                tables
                    .networks
                    .covering(*cidr)
                    .next()
                    .map_or(IdentityId::WORLD, |(_, peer)| peer.identity),
            ),
        })
    }

    /// Its address, if it is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Frontend(frontend) => Some(frontend.address),
            Self::Peer(address) => Some(*address),
            Self::Network(_) => None,
        }
    }

    pub(crate) fn put(&self, peer: Peer) -> Write {
        match self {
            Self::Frontend(frontend) => Write::Frontend(*frontend, peer.identity),
            Self::Peer(address) => Write::Peer(*address, peer),
            Self::Network(cidr) => Write::Network(*cidr, peer),
        }
    }

    pub(crate) fn remove(&self) -> Write {
        match self {
            Self::Frontend(frontend) => Write::RemoveFrontend(*frontend),
            Self::Peer(address) => Write::RemovePeer(*address),
            Self::Network(cidr) => Write::RemoveNetwork(*cidr),
        }
    }
}

/// All places that tables hold, in order.
pub(crate) fn places(tables: &Tables) -> Vec<Place> {
    let mut places: Vec<Place> = (tables.frontends.keys().copied().map(Place::Frontend))
        .chain(tables.peers.keys().copied().map(Place::Peer))
        .chain(
            tables
                .networks
                .iter()
                .map(|(cidr, _)| Place::Network(*cidr)),
        )
        .collect();
    places.sort_unstable();
    places
}

/// An identity in use.
#[derive(Debug)]
pub(crate) struct IdentityState {
    pub(crate) class: Class,
    places: u32,
}

/// A set in use.
#[derive(Debug)]
pub(crate) struct SetState {
    pub(crate) key: SetKey,
    users: u32,
}

/// Identities and sets in use. While nothing is being planned, each of these sets has its verdict on each of these
/// identities.
#[derive(Debug, Default)]
pub(crate) struct Live {
    identities: HashMap<IdentityId, IdentityState, RandomState>,
    by_class: HashMap<Class, Vec<IdentityId>, RandomState>,
    sets: BTreeMap<SetId, SetState>,
    by_key: HashMap<SetKey, SetId, RandomState>,
    /// Second identities of classes, to be merged.
    pub(crate) aliases: Vec<IdentityId>,
}

impl Live {
    /// What is in use in tables of an earlier run: of unknown meaning, but for the world.
    pub(crate) fn adopted(tables: &Tables, world: &Class) -> Self {
        let mut live = Self::default();
        live.add_identity(IdentityId::WORLD, world.clone());
        live.hold(IdentityId::WORLD);
        for place in places(tables) {
            let id = place.found(tables).identity;
            if live.class(id).is_none() {
                live.add_identity(id, Class::Adopted(id));
            }
            live.hold(id);
        }
        for sets in tables.endpoints.values() {
            for id in [sets.ingress, sets.egress] {
                if id >= SetId::FIRST && live.key(id).is_none() {
                    live.add_set(id, SetKey::Adopted(id));
                }
                live.join(id);
            }
        }
        live
    }

    pub(crate) fn class(&self, id: IdentityId) -> Option<&Class> {
        self.identities.get(&id).map(|state| &state.class)
    }

    /// The identities of a class, the preferred one first.
    pub(crate) fn of_class(&self, class: &Class) -> &[IdentityId] {
        self.by_class.get(class).map_or(&[], Vec::as_slice)
    }

    /// The identities that something holds, and those of `others` that are known, lowest first.
    pub(crate) fn held(&self, others: &[IdentityId]) -> Vec<(IdentityId, Class)> {
        let mut all: Vec<_> = self
            .identities
            .iter()
            .filter(|(id, state)| state.places > 0 || others.contains(id))
            .map(|(id, state)| (*id, state.class.clone()))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    pub(crate) fn key(&self, id: SetId) -> Option<&SetKey> {
        self.sets.get(&id).map(|state| &state.key)
    }

    pub(crate) fn of_key(&self, key: &SetKey) -> Option<SetId> {
        match key {
            SetKey::Open => Some(SetId::OPEN),
            SetKey::Policies(_) | SetKey::Adopted(_) => self.by_key.get(key).copied(),
        }
    }

    /// All sets, lowest first.
    pub(crate) fn sets(&self) -> impl Iterator<Item = (SetId, &SetKey)> {
        self.sets.iter().map(|(id, state)| (*id, &state.key))
    }

    /// Takes in an identity; nothing holds it yet.
    pub(crate) fn add_identity(&mut self, id: IdentityId, class: Class) {
        self.by_class.entry(class.clone()).or_default().push(id);
        self.identities
            .insert(id, IdentityState { class, places: 0 });
    }

    /// Says what an adopted identity stands for.
    pub(crate) fn recognise_identity(&mut self, id: IdentityId, class: Class) {
        if let Some(state) = self.identities.get_mut(&id) {
            self.by_class.remove(&state.class);
            state.class = class.clone();
            self.by_class.entry(class).or_default().push(id);
        }
    }

    /// Takes in a set; a set of the same key is no longer found by it.
    pub(crate) fn add_set(&mut self, id: SetId, key: SetKey) {
        self.by_key.insert(key.clone(), id);
        self.sets.insert(id, SetState { key, users: 0 });
    }

    /// Says what an adopted set stands for.
    pub(crate) fn recognise_set(&mut self, id: SetId, key: SetKey) {
        if let Some(state) = self.sets.get_mut(&id) {
            self.by_key.remove(&state.key);
            state.key = key.clone();
            self.by_key.insert(key, id);
        }
    }

    pub(crate) fn hold(&mut self, id: IdentityId) {
        if let Some(state) = self.identities.get_mut(&id) {
            state.places += 1;
        }
    }

    pub(crate) fn let_go(&mut self, id: IdentityId) {
        if let Some(state) = self.identities.get_mut(&id) {
            state.places -= 1;
        }
    }

    pub(crate) fn join(&mut self, id: SetId) {
        if let Some(state) = self.sets.get_mut(&id) {
            state.users += 1;
        }
    }

    pub(crate) fn leave(&mut self, id: SetId) {
        if let Some(state) = self.sets.get_mut(&id) {
            state.users -= 1;
        }
    }

    /// Forgets the identities among `candidates` that nothing holds, and returns them.
    pub(crate) fn drop_identities(&mut self, mut candidates: Vec<IdentityId>) -> Vec<IdentityId> {
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|id| {
            self.identities
                .get(id)
                .is_some_and(|state| state.places == 0)
        });
        for id in &candidates {
            let Some(state) = self.identities.remove(id) else {
                continue;
            };
            if let Some(ids) = self.by_class.get_mut(&state.class) {
                ids.retain(|other| other != id);
                if ids.is_empty() {
                    self.by_class.remove(&state.class);
                }
            }
        }
        self.aliases.retain(|id| !candidates.contains(id));
        candidates
    }

    /// Forgets the sets among `candidates` that no endpoint uses, and returns them.
    pub(crate) fn drop_sets(&mut self, mut candidates: Vec<SetId>) -> Vec<SetId> {
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|id| self.sets.get(id).is_some_and(|state| state.users == 0));
        for id in &candidates {
            let Some(state) = self.sets.remove(id) else {
                continue;
            };
            if self.by_key.get(&state.key) == Some(id) {
                self.by_key.remove(&state.key);
            }
        }
        candidates
    }
}

/// The table of a set of which everything passes.
pub(crate) const OPEN: PortTable = PortTable::All(RuleId::NOT_ISOLATED);
