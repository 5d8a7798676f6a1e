//! Names for the kernel's numbers and for addresses: who an address is, which rule a rule id is.
//!
//! Written by the task that owns the cluster state, read by the pipeline thread once per new flow. Every value is
//! shared, so a record is named without allocating. An address that changed hands keeps its former owner for
//! [`TOMBSTONE`], so that a flow that began before the change is named as it was.

mod identity;
mod revisions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use weir_flow::{Endpoint, EndpointKind, PolicyRef, Rule, ServiceRef, Timestamp};

pub use identity::IdentityNumbers;
pub(crate) use identity::fnv1a;
pub use revisions::Revisions;

/// How long the former owner of an address is remembered.
pub const TOMBSTONE: Duration = Duration::from_secs(120);

type Map<K, V> = DashMap<K, V, foldhash::fast::RandomState>;

/// A pod interface of this node, as records name it.
#[derive(Clone, Debug)]
pub struct LocalEndpoint {
    /// The pod; [`EndpointKind::Unknown`] while the interface is not mapped to one.
    pub endpoint: Arc<Endpoint>,
    /// Its mode.
    pub mode: weir_flow::Mode,
}

/// Who has an address, and who had it.
#[derive(Clone, Debug)]
struct Owner {
    endpoint: Arc<Endpoint>,
    since: Timestamp,
    former: Option<(Arc<Endpoint>, Timestamp)>,
}

/// The lookup tables. Cheap to read from any thread; guards never leave a method.
#[derive(Debug)]
pub struct Names {
    addresses: Map<IpAddr, Owner>,
    services: Map<(IpAddr, u8, u16), Arc<ServiceRef>>,
    node_ports: Map<(u8, u16), Arc<ServiceRef>>,
    locals: Map<u32, LocalEndpoint>,
    rules: Map<u32, Arc<Rule>>,
    sets: Map<u32, Arc<[PolicyRef]>>,
    revisions: ArcSwap<Revisions>,
    world: Arc<Endpoint>,
    unknown: LocalEndpoint,
    no_rule: Arc<Rule>,
    no_policies: Arc<[PolicyRef]>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            addresses: Map::default(),
            services: Map::default(),
            node_ports: Map::default(),
            locals: Map::default(),
            rules: Map::default(),
            sets: Map::default(),
            revisions: ArcSwap::default(),
            world: Arc::new(nameless(EndpointKind::World, identity::WORLD)),
            unknown: LocalEndpoint {
                endpoint: Arc::new(nameless(EndpointKind::Unknown, identity::UNKNOWN)),
                mode: weir_flow::Mode::Enforce,
            },
            no_rule: Arc::new(Rule::None),
            no_policies: Arc::new([]),
        }
    }
}

fn nameless(kind: EndpointKind, identity: u32) -> Endpoint {
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

impl Names {
    /// Whose address this was at `at`; the world's if nobody's.
    pub fn address(&self, address: IpAddr, at: Timestamp) -> Arc<Endpoint> {
        let Some(owner) = self.addresses.get(&address) else {
            return self.world.clone();
        };
        match &owner.former {
            Some((former, until)) if at < *until && at < owner.since => former.clone(),
            _ => owner.endpoint.clone(),
        }
    }

    /// The Service that has this front end: at an address of its own, or a node port at a node's.
    pub fn service(&self, address: IpAddr, protocol: u8, port: u16) -> Option<Arc<ServiceRef>> {
        if let Some(service) = self.services.get(&(address, protocol, port)) {
            return Some(service.clone());
        }
        let owner = self.addresses.get(&address)?.endpoint.kind;
        if !matches!(owner, EndpointKind::Host | EndpointKind::RemoteNode) {
            return None;
        }
        self.node_ports
            .get(&(protocol, port))
            .map(|service| service.clone())
    }

    /// The pod behind an endpoint number.
    pub fn local(&self, endpoint: u32) -> LocalEndpoint {
        self.locals
            .get(&endpoint)
            .map_or_else(|| self.unknown.clone(), |local| local.clone())
    }

    /// The rule behind a rule id; [`Rule::None`] for the reserved ids.
    pub fn rule(&self, rule: u32) -> Arc<Rule> {
        self.rules
            .get(&rule)
            .map_or_else(|| self.no_rule.clone(), |rule| rule.clone())
    }

    /// The policies of a set: those that isolate an endpoint in the set's direction.
    pub fn policies(&self, set: u32) -> Arc<[PolicyRef]> {
        self.sets
            .get(&set)
            .map_or_else(|| self.no_policies.clone(), |policies| policies.clone())
    }

    /// The revision that an epoch stands for; the epoch itself if it is not known any more.
    pub fn revision(&self, epoch: u32) -> u64 {
        let revision = self.revisions.load().get(epoch);
        revision.unwrap_or(u64::from(epoch))
    }

    /// `address` belongs to `endpoint` from `since` on.
    pub fn put_address(&self, address: IpAddr, endpoint: Arc<Endpoint>, since: Timestamp) {
        let former = self
            .addresses
            .get(&address)
            .map(|owner| (owner.endpoint.clone(), since));
        let former = former.filter(|(was, _)| *was != endpoint);
        self.addresses.insert(
            address,
            Owner {
                endpoint,
                since,
                former,
            },
        );
    }

    /// `address` is nobody's from `at` on. Its owner is remembered for [`TOMBSTONE`].
    pub fn remove_address(&self, address: IpAddr, at: Timestamp) {
        if let Some(mut owner) = self.addresses.get_mut(&address) {
            let was = std::mem::replace(&mut owner.endpoint, self.world.clone());
            owner.former = Some((was, at));
            owner.since = at;
        }
    }

    /// Forgets former owners whose time is over. Call now and then.
    pub fn expire(&self, now: Timestamp) {
        let horizon = now.0 - TOMBSTONE.as_nanos() as i64;
        self.addresses.retain(|_, owner| {
            if owner
                .former
                .as_ref()
                .is_some_and(|(_, until)| until.0 < horizon)
            {
                owner.former = None;
            }
            owner.former.is_some() || !Arc::ptr_eq(&owner.endpoint, &self.world)
        });
    }

    /// Names a Service front end.
    pub fn put_service(&self, address: IpAddr, protocol: u8, port: u16, service: Arc<ServiceRef>) {
        self.services.insert((address, protocol, port), service);
    }

    /// The front end is no Service's any more.
    pub fn remove_service(&self, address: IpAddr, protocol: u8, port: u16) {
        self.services.remove(&(address, protocol, port));
    }

    /// Names a node port.
    pub fn put_node_port(&self, protocol: u8, port: u16, service: Arc<ServiceRef>) {
        self.node_ports.insert((protocol, port), service);
    }

    /// The node port is no Service's any more.
    pub fn remove_node_port(&self, protocol: u8, port: u16) {
        self.node_ports.remove(&(protocol, port));
    }

    /// Names an endpoint number.
    pub fn put_local(&self, endpoint: u32, local: LocalEndpoint) {
        self.locals.insert(endpoint, local);
    }

    /// The endpoint number is retired and no entry holds it.
    pub fn remove_local(&self, endpoint: u32) {
        self.locals.remove(&endpoint);
    }

    /// Names a rule id. Ids never change meaning.
    pub fn put_rule(&self, rule: u32, meaning: Arc<Rule>) {
        self.rules.insert(rule, meaning);
    }

    /// Names the policies of a set.
    pub fn put_set(&self, set: u32, policies: Arc<[PolicyRef]>) {
        self.sets.insert(set, policies);
    }

    /// Forgets the policies of sets that `keep` refuses.
    pub fn retain_sets(&self, keep: impl Fn(u32) -> bool) {
        self.sets.retain(|set, _| keep(*set));
    }

    /// Says which revision an epoch stands for.
    pub fn put_revision(&self, epoch: u32, revision: u64) {
        self.revisions.rcu(|revisions| {
            let mut revisions = Revisions::clone(revisions);
            revisions.put(epoch, revision);
            revisions
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            name: name.into(),
            ..nameless(EndpointKind::Pod, 300)
        })
    }

    #[test]
    fn a_reused_address_names_its_owner_at_the_time() {
        let names = Names::default();
        let ip: IpAddr = "10.0.0.1".parse().expect("address");
        names.put_address(ip, pod("old"), Timestamp(1_000));
        names.put_address(ip, pod("new"), Timestamp(2_000));
        assert_eq!(&*names.address(ip, Timestamp(1_500)).name, "old");
        assert_eq!(&*names.address(ip, Timestamp(2_500)).name, "new");
    }

    #[test]
    fn a_removed_address_keeps_its_tombstone_for_a_while() {
        let names = Names::default();
        let ip: IpAddr = "10.0.0.1".parse().expect("address");
        names.put_address(ip, pod("gone"), Timestamp(1_000));
        names.remove_address(ip, Timestamp(2_000));
        assert_eq!(&*names.address(ip, Timestamp(1_999)).name, "gone");
        assert_eq!(
            names.address(ip, Timestamp(2_001)).kind,
            EndpointKind::World
        );
        names.expire(Timestamp(2_000 + TOMBSTONE.as_nanos() as i64 + 1));
        assert_eq!(
            names.address(ip, Timestamp(1_999)).kind,
            EndpointKind::World
        );
        assert!(names.addresses.is_empty());
    }
}
