//! The compiler: a cluster's objects → the tables of one node, and the writes from each state to the next.

mod addresses;
mod adopt;
mod backends;
mod catalogue;
mod class;
mod endpoints;
mod label_keys;
mod live;
mod plan;
mod pod_entry;
mod policies;
mod services;
mod sets;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{Cluster, Kind, Name, NetworkPolicy, Object, ObjectChange};
use crate::tables::{Frontend, IdentityId, NodeAddress, SetId, Tables, Update};
use addresses::{Addresses, Touched};
use class::Class;
use endpoints::Endpoints;
use label_keys::keys_of_peers;
use live::{Live, Place, places};
use plan::{Destination, Goal, Planner};
use policies::Policies;
use services::Services;
use writes::Leftover;

pub(crate) use backends::{Family, backends, target};
pub use catalogue::{Catalogue, IdentityEntry, Mark, RuleEntry, SetEntry, Stored};

/// Compiles the policies of a cluster for one node.
#[derive(Debug)]
pub struct Compiler {
    addresses: Addresses,
    policies: Policies,
    services: Services,
    endpoints: Endpoints,
    live: Live,
    catalogue: Catalogue,
    tables: Tables,
    leftover: Leftover,
    scope: Scope,
}

/// What the next update has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// What changed.
    Changes,
    /// Everything: the tables are not the compiler's own.
    All,
}

/// A change of the cluster as this node's compiler sees it.
#[derive(Clone, Debug)]
pub enum Change {
    /// An object was added or replaced.
    Upsert(Object),
    /// An object was removed.
    Remove(Kind, Name),
    /// All objects: those that are not in it are gone.
    Replace(Cluster),
    /// All addresses of the node's own interfaces.
    LocalAddresses(BTreeSet<IpAddr>),
}

impl From<ObjectChange> for Change {
    fn from(change: ObjectChange) -> Self {
        match change {
            ObjectChange::Upsert(object) => Self::Upsert(object),
            ObjectChange::Remove(kind, name) => Self::Remove(kind, name),
        }
    }
}

/// What a batch of changes touched.
#[derive(Debug, Default)]
struct Dirty {
    touched: Touched,
    cidrs: BTreeSet<IpNet>,
    /// Label keys by which new policies select peers.
    keys: BTreeSet<Arc<str>>,
    services: BTreeSet<Name>,
    frontends: BTreeSet<Frontend>,
    endpoints: BTreeSet<Name>,
    /// Addresses of endpoints that may reach themselves through a Service.
    hairpin: BTreeSet<IpAddr>,
}

impl Compiler {
    /// A compiler for a node, with nothing compiled. `catalogue`: as an earlier run left it, or empty.
    pub fn new(node: impl Into<Arc<str>>, catalogue: Catalogue) -> Self {
        let addresses = Addresses::new(node.into());
        let tables = Tables {
            revision: catalogue.mark().revision,
            ..Tables::default()
        };
        let live = Live::adopted(&tables, &addresses.world());
        Self {
            addresses,
            policies: Policies::default(),
            services: Services::default(),
            endpoints: Endpoints::default(),
            live,
            catalogue,
            tables,
            leftover: Leftover::default(),
            scope: Scope::Changes,
        }
    }

    /// Takes the tables that the kernel really holds as the state that the next update starts from: those of an
    /// earlier run, stopped anywhere, or those left by an update that was refused. Numbers in them that stand for what
    /// is needed again are kept.
    pub fn adopt(&mut self, tables: Tables) {
        self.catalogue.skip_past(&tables);
        self.live = Live::adopted(&tables, &self.addresses.world());
        self.tables = tables;
        self.leftover = Leftover::default();
        self.scope = Scope::All;
    }

    /// The compiled state, as it is when the last update is done.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What the numbers in it mean. Its new entries are to be on disk before the update is applied.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Forgets descriptions of sets and identities that neither these tables hold nor the caller wants kept.
    pub fn prune_catalogue(
        &mut self,
        keep_set: impl Fn(SetId) -> bool,
        keep_identity: impl Fn(IdentityId) -> bool,
    ) {
        let live = &self.live;
        self.catalogue.prune(
            |id| live.key(id).is_some() || keep_set(id),
            |id| live.class(id).is_some() || keep_identity(id),
        );
    }

    /// Compiles changes. All of them take effect in one update.
    pub fn apply(&mut self, changes: Vec<Change>) -> Update {
        let mut dirty = Dirty::default();
        for change in changes {
            match change {
                Change::Upsert(object) => self.upsert(object, &mut dirty),
                Change::Remove(kind, name) => self.remove(kind, &name, &mut dirty),
                Change::Replace(cluster) => self.replace(cluster, &mut dirty),
                Change::LocalAddresses(addresses) => {
                    self.addresses.set_local(addresses, &mut dirty.touched);
                }
            }
        }
        let policies = &self.policies;
        self.addresses.set_cidrs(
            &dirty.cidrs,
            |cidr| policies.names_cidr(cidr),
            &mut dirty.touched,
        );
        let keys = std::mem::take(&mut dirty.keys);
        self.addresses.see_labels(keys, &mut dirty.touched);
        self.compile_services(&mut dirty);
        let goal = self.goal(dirty);
        self.finish(goal)
    }

    fn upsert(&mut self, object: Object, dirty: &mut Dirty) {
        let touched = &mut dirty.touched;
        match object {
            Object::Namespace(object) => {
                self.addresses
                    .set_namespace(&object.name, Some(&object), touched);
            }
            Object::Node(object) => self
                .addresses
                .set_node(&object.name, Some(&object), touched),
            Object::Pod(object) => self.addresses.set_pod(&object.name, Some(&object), touched),
            Object::Service(object) => self.services.set_service(object, &mut dirty.services),
            Object::EndpointSlice(object) => {
                let name = object.name.clone();
                self.services
                    .set_slice(&name, Some(object), &mut dirty.services);
            }
            Object::NetworkPolicy(object) => {
                self.set_policy(&object.name.clone(), Some(object), dirty)
            }
        }
    }

    fn remove(&mut self, kind: Kind, name: &Name, dirty: &mut Dirty) {
        match kind {
            Kind::Namespace => self
                .addresses
                .set_namespace(&name.name, None, &mut dirty.touched),
            Kind::Node => self
                .addresses
                .set_node(&name.name, None, &mut dirty.touched),
            Kind::Pod => self.addresses.set_pod(name, None, &mut dirty.touched),
            Kind::Service => {
                dirty.hairpin.extend(self.services.soles(name));
                self.services.remove(name, &mut dirty.frontends);
            }
            Kind::EndpointSlice => self.services.set_slice(name, None, &mut dirty.services),
            Kind::NetworkPolicy => self.set_policy(name, None, dirty),
        }
    }

    fn replace(&mut self, cluster: Cluster, dirty: &mut Dirty) {
        for (kind, name) in self.missing(&cluster) {
            self.remove(kind, &name, dirty);
        }
        cluster
            .objects()
            .for_each(|object| self.upsert(object, dirty));
    }

    /// The objects that are known and not in `cluster`.
    fn missing(&self, cluster: &Cluster) -> Vec<(Kind, Name)> {
        let root = |name: &Arc<str>| Name::new("", Arc::clone(name));
        let (addresses, services) = (&self.addresses, &self.services);
        let namespaces = addresses
            .namespace_names()
            .filter(|n| !cluster.namespaces.contains_key(*n));
        let nodes = addresses
            .node_names()
            .filter(|n| !cluster.nodes.contains_key(*n));
        let pods = addresses
            .pod_names()
            .filter(|n| !cluster.pods.contains_key(*n));
        let gone = services
            .service_names()
            .filter(|n| !cluster.services.contains_key(*n));
        let slices = services
            .slice_names()
            .filter(|n| !cluster.endpoint_slices.contains_key(*n));
        let policies = self
            .policies
            .names()
            .filter(|n| !cluster.policies.contains_key(*n));
        (namespaces.map(|name| (Kind::Namespace, root(name))))
            .chain(nodes.map(|name| (Kind::Node, root(name))))
            .chain(pods.map(|name| (Kind::Pod, name.clone())))
            .chain(gone.map(|name| (Kind::Service, name.clone())))
            .chain(slices.map(|name| (Kind::EndpointSlice, name.clone())))
            .chain(policies.map(|name| (Kind::NetworkPolicy, name.clone())))
            .collect()
    }

    fn set_policy(&mut self, name: &Name, policy: Option<Arc<NetworkPolicy>>, dirty: &mut Dirty) {
        let new = policy.clone();
        let changed = self
            .policies
            .set(name, policy, &mut self.catalogue, &mut dirty.cidrs);
        let Some(old) = changed else { return };
        let keys = new.iter().flat_map(|policy| keys_of_peers(policy));
        dirty.keys.extend(keys.cloned());
        for (pod, labels) in self.endpoints.of(&name.namespace) {
            let selects = |policy: &Arc<NetworkPolicy>| policy.pod_selector.matches(labels);
            if old.as_ref().is_some_and(selects) || new.as_ref().is_some_and(selects) {
                dirty.endpoints.insert(pod.clone());
            }
        }
    }

    /// Compiles the Services that changed or whose backends did.
    fn compile_services(&mut self, dirty: &mut Dirty) {
        let touched = &dirty.touched;
        for address in &touched.addresses {
            dirty
                .services
                .extend(self.services.behind(*address).cloned());
        }
        if !touched.networks.is_empty() {
            let under = self
                .services
                .behind_any(|address| touched.networks.iter().any(|cidr| cidr.contains(&address)));
            dirty.services.extend(under);
        }
        let namespaces: BTreeSet<&Arc<str>> =
            touched.pods.iter().map(|pod| &pod.namespace).collect();
        for namespace in namespaces {
            dirty
                .services
                .extend(self.services.by_selector(namespace).cloned());
        }
        if touched.node_addresses {
            dirty
                .services
                .extend(self.services.with_node_ports().cloned());
        }
        for name in &dirty.services {
            dirty.hairpin.extend(self.services.soles(name));
            self.services
                .compile(name, &self.addresses, &mut dirty.frontends);
            dirty.hairpin.extend(self.services.soles(name));
        }
    }

    /// Where the touched places and endpoints are to be.
    fn goal(&mut self, mut dirty: Dirty) -> Goal {
        let mut goal = Goal {
            readdressed: std::mem::take(&mut dirty.touched.readdressed),
            ..Goal::default()
        };
        if self.scope == Scope::All {
            self.everything(&mut dirty);
            goal.places = self.destinations(places(&self.tables));
        }
        if !self.live.aliases.is_empty() {
            let held = |place: &Place| place.held(&self.tables).map(|peer| peer.identity);
            let on_alias =
                |place: &Place| held(place).is_some_and(|id| self.live.aliases.contains(&id));
            let all = places(&self.tables).into_iter().filter(on_alias).collect();
            goal.places.extend(self.destinations(all));
        }
        let touched = (dirty.touched.addresses.iter().copied().map(Place::Peer))
            .chain(dirty.touched.networks.iter().copied().map(Place::Network))
            .chain(dirty.frontends.iter().copied().map(Place::Frontend));
        goal.places.extend(self.destinations(touched.collect()));
        for address in &dirty.hairpin {
            let pods = self.addresses.claimants(*address);
            dirty.endpoints.extend(pods.cloned());
        }
        dirty.endpoints.append(&mut dirty.touched.pods);
        for name in dirty.endpoints {
            let sets =
                self.endpoints
                    .set(&name, &self.addresses, &mut self.policies, &self.services);
            if sets.is_some() || self.tables.endpoints.contains_key(&name) {
                goal.endpoints.insert(name, sets);
            }
        }
        goal
    }

    fn destinations(&self, places: Vec<Place>) -> BTreeMap<Place, Destination> {
        places
            .into_iter()
            .map(|place| (place, self.destination(&place)))
            .collect()
    }

    fn destination(&self, place: &Place) -> Destination {
        match place {
            Place::Peer(address) => match self.addresses.class_of(*address) {
                (Some(node), class) => Destination::Class(class, node),
                (None, class) => Destination::Gone(class),
            },
            Place::Network(cidr) => match self.addresses.class_of_network(cidr) {
                Some(class) => Destination::Class(class, NodeAddress::No),
                None => Destination::Gone(self.addresses.class_beneath(*cidr)),
            },
            Place::Frontend(frontend) => match self.services.class_of(frontend) {
                Some(class) => {
                    Destination::Class(Class::Service(Arc::clone(class)), NodeAddress::No)
                }
                None => match self.addresses.class_of(frontend.address) {
                    (Some(NodeAddress::Own), _) => Destination::Gone(Class::OwnNode),
                    (_, class) => Destination::Gone(class),
                },
            },
        }
    }

    fn finish(&mut self, goal: Goal) -> Update {
        let all = std::mem::replace(&mut self.scope, Scope::Changes) == Scope::All;
        if all {
            self.recognise(&goal);
        }
        let mut planner = Planner {
            tables: &self.tables,
            live: &mut self.live,
            catalogue: &mut self.catalogue,
            memo: self.policies.memo(),
            addresses: &self.addresses,
        };
        let (mut update, released) = planner.update(goal, &mut self.leftover);
        let changes = update.writes().next().is_some();
        update.writes().for_each(|write| self.tables.apply(write));
        let cleanup = &mut update.cleanup;
        let moved = cleanup.len();
        writes::forget(
            &mut self.live,
            &self.tables,
            released,
            &mut self.leftover,
            cleanup,
        );
        if all {
            writes::sweep(&self.live, &self.tables, &self.leftover.identities, cleanup);
        }
        cleanup[moved..]
            .iter()
            .for_each(|write| self.tables.apply(write));
        if changes {
            self.tables.revision = self.catalogue.next_revision();
        }
        update.revision = self.tables.revision;
        self.policies.collect();
        for serial in self.addresses.collect() {
            self.policies.memo().forget_base(serial);
        }
        update
    }
}
