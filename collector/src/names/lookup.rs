//! The tables, and how they are read.

use std::net::IpAddr;
use std::sync::{Arc, RwLockReadGuard};

use hashbrown::HashMap;
use weir_flow::{Endpoint, EndpointKind, Mode, PolicyRef, Rule, ServiceRef, Timestamp};

use super::{LocalEndpoint, Revisions, identity};

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Who has an address, and who had it.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) since: Timestamp,
    pub(super) former: Option<(Arc<Endpoint>, Timestamp)>,
}

/// Whose the addresses are that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Nobody knows: the cluster's pods and nodes are not known yet.
    Unknown,
    /// The world's.
    World,
}

/// Everything that has a name.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) addresses: Map<IpAddr, Owner>,
    pub(super) services: Map<(IpAddr, u8, u16), Arc<ServiceRef>>,
    pub(super) node_ports: Map<(u8, u16), Arc<ServiceRef>>,
    pub(super) locals: Map<u32, LocalEndpoint>,
    pub(super) rules: Map<u32, Arc<Rule>>,
    pub(super) sets: Map<u32, Arc<[PolicyRef]>>,
    pub(super) revisions: Revisions,
    pub(super) world: Arc<Endpoint>,
    pub(super) strangers: Strangers,
    unknown: LocalEndpoint,
    no_rule: Arc<Rule>,
    no_policies: Arc<[PolicyRef]>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            addresses: Map::default(),
            services: Map::default(),
            node_ports: Map::default(),
            locals: Map::default(),
            rules: Map::default(),
            sets: Map::default(),
            revisions: Revisions::default(),
            world: Arc::new(nameless(EndpointKind::World, identity::WORLD)),
            strangers: Strangers::World,
            unknown: LocalEndpoint {
                endpoint: Arc::new(nameless(EndpointKind::Unknown, identity::UNKNOWN)),
                mode: Mode::Enforce,
            },
            no_rule: Arc::new(Rule::None),
            no_policies: Arc::new([]),
        }
    }
}

pub(super) fn nameless(kind: EndpointKind, identity: u32) -> Endpoint {
    let empty: Arc<str> = Arc::from("");
    Endpoint {
        kind,
        identity,
        namespace: empty.clone(),
        name: empty,
        labels: Arc::new([]),
        workload: None,
    }
}

/// The names as they are while this lives: changes wait for its end.
#[derive(Debug)]
pub struct Lookup<'a>(pub(super) RwLockReadGuard<'a, Tables>);

impl Lookup<'_> {
    /// Whose address this was at `at`; the world's if nobody's, or unknown while the cluster is.
    pub fn address(&self, address: IpAddr, at: Timestamp) -> &Arc<Endpoint> {
        let Some(owner) = self.0.addresses.get(&address) else {
            return match self.0.strangers {
                Strangers::Unknown => &self.0.unknown.endpoint,
                Strangers::World => &self.0.world,
            };
        };
        match &owner.former {
            Some((former, until)) if at < *until && at < owner.since => former,
            _ => &owner.endpoint,
        }
    }

    /// The Service that has this front end: at an address of its own, or a node port at a node's.
    pub fn service(&self, address: IpAddr, protocol: u8, port: u16) -> Option<&Arc<ServiceRef>> {
        let own = self.0.services.get(&(address, protocol, port));
        if own.is_some() {
            return own;
        }
        let owner = self.0.addresses.get(&address)?.endpoint.kind;
        if !matches!(owner, EndpointKind::Host | EndpointKind::RemoteNode) {
            return None;
        }
        self.0.node_ports.get(&(protocol, port))
    }

    /// The pod behind an endpoint number.
    pub fn local(&self, endpoint: u32) -> &LocalEndpoint {
        self.0.locals.get(&endpoint).unwrap_or(&self.0.unknown)
    }

    /// The rule behind a rule id; [`Rule::None`] for the reserved ids.
    pub fn rule(&self, rule: u32) -> &Arc<Rule> {
        self.0.rules.get(&rule).unwrap_or(&self.0.no_rule)
    }

    /// The policies of a set: those that isolate an endpoint in the set's direction.
    pub fn policies(&self, set: u32) -> &Arc<[PolicyRef]> {
        self.0.sets.get(&set).unwrap_or(&self.0.no_policies)
    }

    /// The revision that an epoch stands for; the epoch itself if it is not known any more.
    pub fn revision(&self, epoch: u32) -> u64 {
        self.0.revisions.get(epoch).unwrap_or(u64::from(epoch))
    }
}
