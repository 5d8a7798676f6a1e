//! Whose address is it: pods, nodes, and the class of every address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::class::{BaseValue, Chain, Class, Interner};
use super::label_keys::{LabelKeys, Sight};
use super::pod_entry::{Placement, PodEntry, rank};
use crate::model::{Labels, Name, Namespace, Node, Phase, Pod};
use crate::tables::{Networks, NodeAddress};

/// What all names of a namespace come after.
fn first_of(namespace: &Arc<str>) -> Name {
    Name::new(Arc::clone(namespace), "")
}

/// Pods, nodes, namespaces and CIDRs.
#[derive(Debug)]
pub(crate) struct Addresses {
    node: Arc<str>,
    /// In the order of their names: those of a namespace lie together.
    pods: BTreeMap<Name, PodEntry>,
    claims: HashMap<IpAddr, Claims, RandomState>,
    nodes: BTreeMap<Arc<str>, Vec<IpAddr>>,
    node_claims: HashMap<IpAddr, BTreeSet<Arc<str>>, RandomState>,
    local: BTreeSet<IpAddr>,
    namespaces: HashMap<Arc<str>, Labels, RandomState>,
    bases: Interner<BaseValue>,
    keys: LabelKeys,
    chains: Interner<Vec<IpNet>>,
    cidrs: Networks<Arc<Chain>>,
    world: Arc<Chain>,
}

/// The pods that claim an address.
#[derive(Debug)]
enum Claims {
    One(Name),
    /// Address reuse: a completed or dying pod beside the new one.
    Many(Vec<Name>),
}

impl Claims {
    fn names(&self) -> &[Name] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// What an object change touched.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) networks: BTreeSet<IpNet>,
    /// Pods whose entry changed.
    pub(crate) pods: BTreeSet<Name>,
    /// Those of them that have other addresses than before.
    pub(crate) readdressed: BTreeSet<Name>,
    /// Whether the addresses of nodes changed, which carry node ports.
    pub(crate) node_addresses: bool,
}

impl Addresses {
    pub(crate) fn new(node: Arc<str>) -> Self {
        let mut chains = Interner::default();
        let world = chains.intern(Vec::new());
        Self {
            node,
            pods: BTreeMap::new(),
            claims: HashMap::default(),
            nodes: BTreeMap::new(),
            node_claims: HashMap::default(),
            local: BTreeSet::new(),
            namespaces: HashMap::default(),
            bases: Interner::default(),
            keys: LabelKeys::default(),
            chains,
            cidrs: Networks::default(),
            world,
        }
    }

    /// What an address is: exactly known (a node's or a pod's), or by the CIDRs that cover it.
    pub(crate) fn class_of(&self, address: IpAddr) -> (Option<NodeAddress>, Class) {
        let chain = self.chain(address);
        let node = self.node_address(address);
        if node != NodeAddress::No {
            return (Some(node), Class::Node(chain));
        }
        match self.owner(address) {
            Some(pod) => (Some(node), Class::Pods(Arc::clone(&pod.base), chain)),
            None => (None, Class::Cidr(chain)),
        }
    }

    /// The class of the addresses under a policy CIDR that no longer one covers.
    pub(crate) fn class_of_network(&self, cidr: &IpNet) -> Option<Class> {
        self.cidrs
            .get(cidr)
            .map(|chain| Class::Cidr(Arc::clone(chain)))
    }

    /// The class of an address that nobody has, by the CIDRs that cover it.
    pub(crate) fn class_beneath(&self, cidr: IpNet) -> Class {
        let chain = self.cidrs.covering(cidr).next().map(|(_, chain)| chain);
        Class::Cidr(Arc::clone(chain.unwrap_or(&self.world)))
    }

    /// The class of addresses that nothing covers.
    pub(crate) fn world(&self) -> Class {
        Class::Cidr(Arc::clone(&self.world))
    }

    pub(crate) fn pod(&self, name: &Name) -> Option<&PodEntry> {
        self.pods.get(name)
    }

    /// The pods of a namespace, in the order of their names.
    pub(crate) fn pods_of(&self, namespace: &Arc<str>) -> impl Iterator<Item = &PodEntry> {
        self.pods
            .range(first_of(namespace)..)
            .take_while(move |(name, _)| name.namespace == *namespace)
            .map(|(_, pod)| pod)
    }

    pub(crate) fn pod_names(&self) -> impl Iterator<Item = &Name> {
        self.pods.keys()
    }

    pub(crate) fn node_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.nodes.keys()
    }

    pub(crate) fn namespace_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.namespaces.keys()
    }

    /// Every address of a node, this node's interfaces included: where node ports are open.
    pub(crate) fn node_addresses(&self) -> BTreeSet<IpAddr> {
        self.node_claims
            .keys()
            .chain(&self.local)
            .copied()
            .collect()
    }

    /// Every address that is a pod's or a node's.
    pub(crate) fn known(&self) -> impl Iterator<Item = IpAddr> {
        self.claims
            .keys()
            .chain(self.node_claims.keys())
            .chain(&self.local)
            .copied()
    }

    /// The CIDRs of policies.
    pub(crate) fn known_cidrs(&self) -> impl Iterator<Item = IpNet> {
        self.cidrs.iter().map(|(cidr, _)| *cidr)
    }

    /// The endpoints of this node.
    pub(crate) fn endpoint_names(&self) -> impl Iterator<Item = &Name> {
        self.pods
            .iter()
            .filter(|(_, pod)| pod.placement == Placement::Here)
            .map(|(name, _)| name)
    }

    /// The pod of this node that has the address.
    pub(crate) fn endpoint_at(&self, address: IpAddr) -> Option<&Name> {
        let name = self.owner_name(address)?;
        (self.pods.get(name)?.placement == Placement::Here).then_some(name)
    }

    /// All pods of this node that claim the address.
    pub(crate) fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &Name> {
        let names = self.claims.get(&address).map_or(&[][..], Claims::names);
        names.iter().filter(|name| {
            let pod = self.pods.get(*name);
            pod.is_some_and(|pod| pod.placement == Placement::Here)
        })
    }

    fn chain(&self, address: IpAddr) -> Arc<Chain> {
        let chain = self.cidrs.lookup(address).map(|(_, chain)| chain);
        Arc::clone(chain.unwrap_or(&self.world))
    }

    fn node_address(&self, address: IpAddr) -> NodeAddress {
        if self.local.contains(&address) {
            return NodeAddress::Own;
        }
        match self.node_claims.get(&address) {
            Some(nodes) if nodes.contains(&self.node) => NodeAddress::Own,
            Some(_) => NodeAddress::Other,
            None => NodeAddress::No,
        }
    }

    fn owner(&self, address: IpAddr) -> Option<&PodEntry> {
        self.pods.get(self.owner_name(address)?)
    }

    fn owner_name(&self, address: IpAddr) -> Option<&Name> {
        let names = self.claims.get(&address)?.names();
        names
            .iter()
            .filter_map(|name| Some((self.pods.get(name)?.rank, name)))
            .min()
            .map(|(_, name)| name)
    }
}

impl Addresses {
    /// Adds, replaces or removes a pod.
    pub(crate) fn set_pod(&mut self, name: &Name, pod: Option<&Pod>, touched: &mut Touched) {
        let completed = |pod: &&Pod| !matches!(pod.phase, Phase::Succeeded | Phase::Failed);
        let new = pod.filter(completed).map(|pod| self.entry(pod));
        let old = self.pods.get_mut(name);
        if old.as_deref() == new.as_ref() {
            return;
        }
        touched.pods.insert(name.clone());
        let old = match (old, &new) {
            (Some(old), Some(new)) if old.is_like(new) => {
                old.labels = new.labels.clone();
                return;
            }
            (old, _) => old,
        };
        if old.map(|pod| pod.ips) != new.as_ref().map(|pod| pod.ips) {
            touched.readdressed.insert(name.clone());
        }
        if let Some(old) = self.pods.remove(name) {
            for address in old.ips() {
                touched.addresses.insert(address);
                self.release(address, name);
            }
        }
        if let Some(new) = new {
            if new.placement != Placement::HostNetwork {
                for address in new.ips() {
                    touched.addresses.insert(address);
                    self.claim(address, name);
                }
            }
            self.pods.insert(name.clone(), new);
        }
    }

    /// Adds, replaces or removes a namespace. Its pods are looked at again.
    pub(crate) fn set_namespace(
        &mut self,
        name: &Arc<str>,
        namespace: Option<&Namespace>,
        touched: &mut Touched,
    ) {
        let before = self.namespace_labels(name);
        match namespace {
            Some(namespace) => {
                self.namespaces
                    .insert(name.clone(), namespace.labels.clone());
            }
            None => drop(self.namespaces.remove(name)),
        }
        let labels = self.namespace_labels(name);
        if labels == before {
            return;
        }
        let bases = &mut self.bases;
        let pods = self.pods.range_mut(first_of(name)..);
        for (pod, entry) in pods.take_while(|(pod, _)| pod.namespace == *name) {
            entry.base = bases.intern(BaseValue {
                namespace_labels: labels.clone(),
                ..entry.base.value.clone()
            });
            touched.addresses.extend(entry.ips());
            touched.pods.insert(pod.clone());
        }
    }

    /// Takes in label keys by which peers are selected. Pods that have any of the new ones get other classes.
    pub(crate) fn see_labels(&mut self, keys: BTreeSet<Arc<str>>, touched: &mut Touched) {
        if self.keys.add(keys) == Sight::Same {
            return;
        }
        let (keys, bases) = (&self.keys, &mut self.bases);
        for entry in self.pods.values_mut() {
            let seen = keys.seen(&entry.labels);
            if seen != entry.base.value.labels {
                entry.base = bases.intern(BaseValue {
                    labels: seen,
                    ..entry.base.value.clone()
                });
                touched.addresses.extend(entry.ips());
            }
        }
    }

    /// Adds, replaces or removes a node.
    pub(crate) fn set_node(&mut self, name: &Arc<str>, node: Option<&Node>, touched: &mut Touched) {
        let new = node.map(|node| node.addresses.clone());
        if self.nodes.get(name) == new.as_ref() {
            return;
        }
        for address in self.nodes.remove(name).unwrap_or_default() {
            touched.addresses.insert(address);
            if let Some(nodes) = self.node_claims.get_mut(&address) {
                nodes.remove(name);
                if nodes.is_empty() {
                    self.node_claims.remove(&address);
                }
            }
        }
        if let Some(addresses) = new {
            for address in &addresses {
                touched.addresses.insert(*address);
                self.node_claims
                    .entry(*address)
                    .or_default()
                    .insert(name.clone());
            }
            self.nodes.insert(name.clone(), addresses);
        }
        touched.node_addresses = true;
    }

    /// Sets the addresses of this node's own interfaces.
    pub(crate) fn set_local(&mut self, addresses: BTreeSet<IpAddr>, touched: &mut Touched) {
        let changed: Vec<IpAddr> = self
            .local
            .symmetric_difference(&addresses)
            .copied()
            .collect();
        touched.node_addresses |= !changed.is_empty();
        touched.addresses.extend(changed);
        self.local = addresses;
    }

    /// Brings the CIDRs of policies up to date; `touched` gets every known address and CIDR under a changed one.
    pub(crate) fn set_cidrs(
        &mut self,
        changed: &BTreeSet<IpNet>,
        in_use: impl Fn(&IpNet) -> bool,
        touched: &mut Touched,
    ) {
        let (mut added, mut removed) = (Networks::default(), Networks::default());
        for cidr in changed {
            match (in_use(cidr), self.cidrs.get(cidr).is_some()) {
                (true, false) => drop(added.insert(*cidr, ())),
                (false, true) => drop(removed.insert(*cidr, ())),
                (true, true) | (false, false) => {}
            }
        }
        if added.is_empty() && removed.is_empty() {
            return;
        }
        for (cidr, ()) in removed.iter() {
            self.cidrs.remove(cidr);
            touched.networks.insert(*cidr);
        }
        for (cidr, ()) in added.iter() {
            self.cidrs.insert(*cidr, Arc::clone(&self.world));
        }
        let under = |cidr: IpNet| {
            added.covering(cidr).next().is_some() || removed.covering(cidr).next().is_some()
        };
        let affected: Vec<IpNet> = self
            .cidrs
            .iter()
            .map(|(cidr, _)| *cidr)
            .filter(|c| under(*c))
            .collect();
        for cidr in affected {
            let mut chain: Vec<IpNet> = self.cidrs.covering(cidr).map(|(cidr, _)| cidr).collect();
            chain.reverse();
            self.cidrs.insert(cidr, self.chains.intern(chain));
            touched.networks.insert(cidr);
        }
        touched
            .addresses
            .extend(self.known().filter(|address| under(IpNet::from(*address))));
    }

    /// Frees what nobody uses; returns the serials of label classes that will be reused.
    pub(crate) fn collect(&mut self) -> Vec<u32> {
        self.chains.collect();
        self.bases.collect()
    }

    fn namespace_labels(&self, name: &Arc<str>) -> Labels {
        match self.namespaces.get(name) {
            Some(labels) => labels.clone(),
            None => Namespace::new(name, &Labels::default()).labels,
        }
    }

    fn entry(&mut self, pod: &Pod) -> PodEntry {
        let base = self.bases.intern(BaseValue {
            namespace: pod.name.namespace.clone(),
            namespace_labels: self.namespace_labels(&pod.name.namespace),
            labels: self.keys.seen(&pod.labels),
            ports: pod.ports.clone(),
        });
        let mut ips = pod.ips.iter().copied();
        PodEntry {
            base,
            labels: pod.labels.clone(),
            ips: [ips.next(), ips.next()],
            placement: Placement::of(pod, &self.node),
            rank: rank(pod),
        }
    }

    fn claim(&mut self, address: IpAddr, name: &Name) {
        match self.claims.get_mut(&address) {
            None => {
                self.claims.insert(address, Claims::One(name.clone()));
            }
            Some(Claims::Many(names)) => names.push(name.clone()),
            Some(claims) => {
                let mut names = claims.names().to_vec();
                names.push(name.clone());
                *claims = Claims::Many(names);
            }
        }
    }

    fn release(&mut self, address: IpAddr, name: &Name) {
        let Some(claims) = self.claims.get_mut(&address) else {
            return;
        };
        let mut left: Vec<Name> = claims
            .names()
            .iter()
            .filter(|other| *other != name)
            .cloned()
            .collect();
        match left.len() {
            0 => drop(self.claims.remove(&address)),
            1 => *claims = Claims::One(left.remove(0)),
            _ => *claims = Claims::Many(left),
        }
    }
}
