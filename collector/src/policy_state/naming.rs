//! Names for records: addresses, Service front ends and endpoint numbers. A change of an object costs what it touches.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use weir_flow::{Endpoint, EndpointKind, ServiceRef, Timestamp, Workload};
use weir_policy::model::{Labels, Name, Node, Object, Pod, Service};

use super::claims::{Claims, Shift};
use crate::endpoints::{EndpointInfo, EndpointView};
use crate::names::{IdentityNumbers, LocalEndpoint, Names};

/// Protocol and port.
type Port = (u8, u16);
/// Where a Service is found.
type Frontends = BTreeSet<(IpAddr, Port)>;

/// Who has an address if several claim it: the later one. Of two pods, the one that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Service,
    RemoteNode,
    Host,
    TerminatingPod,
    Pod,
}

/// A set of labels as records have it.
struct LabelSet {
    identity: u32,
    labels: Arc<[Arc<str>]>,
    pods: usize,
}

/// Keeps [`Names`] in step with the cluster and the endpoints.
pub(super) struct Naming {
    names: Arc<Names>,
    node: Arc<str>,
    identities: IdentityNumbers,
    label_sets: HashMap<(Arc<str>, Labels), LabelSet, foldhash::fast::RandomState>,
    /// The pods of this node.
    pods: HashMap<Name, Arc<Endpoint>>,
    addresses: Claims<IpAddr, (Rank, Name), Arc<Endpoint>>,
    frontends: Claims<(IpAddr, Port), Name, Arc<ServiceRef>>,
    node_ports: Claims<Port, Name, Arc<ServiceRef>>,
    /// The addresses of this node's interfaces.
    own: BTreeSet<IpAddr>,
    locals: HashSet<u32>,
}

impl Naming {
    pub(super) fn new(names: Arc<Names>, node: Arc<str>) -> Self {
        Self {
            names,
            node,
            identities: IdentityNumbers::default(),
            label_sets: HashMap::default(),
            pods: HashMap::new(),
            addresses: Claims::default(),
            frontends: Claims::default(),
            node_ports: Claims::default(),
            own: BTreeSet::new(),
            locals: HashSet::new(),
        }
    }

    /// An object is `new` now, and was `old`.
    pub(super) fn change(&mut self, old: Option<&Object>, new: Option<&Object>, now: Timestamp) {
        match old.or(new) {
            Some(Object::Pod(_)) => self.pod(old.and_then(pod), new.and_then(pod), now),
            Some(Object::Node(_)) => self.node(old.and_then(node), new.and_then(node), now),
            Some(Object::Service(_)) => {
                self.service(old.and_then(service), new.and_then(service), now);
            }
            _ => {}
        }
    }

    /// Takes the addresses of this node's interfaces.
    pub(super) fn own(&mut self, own: &BTreeSet<IpAddr>, now: Timestamp) {
        let host = Arc::new(name_node(EndpointKind::Host, &self.node));
        // The empty name is the interfaces': the node's own object claims by its name.
        let rank = (Rank::Host, Name::new("", ""));
        let before = std::mem::replace(&mut self.own, own.clone());
        for address in before.difference(own) {
            self.claim(*address, Some(&rank), None, now);
        }
        for address in own.difference(&before) {
            self.claim(*address, None, Some((rank.clone(), host.clone())), now);
        }
    }

    fn pod(&mut self, old: Option<&Pod>, new: Option<&Pod>, now: Timestamp) {
        let endpoint = new.map(|pod| Arc::new(self.name_pod(pod)));
        if let Some(old) = old {
            self.forget_labels(old);
        }
        if let Some(pod) = old.or(new) {
            match &endpoint {
                Some(endpoint) if new.is_some_and(|pod| pod.node == self.node) => {
                    self.pods.insert(pod.name.clone(), endpoint.clone());
                }
                _ => drop(self.pods.remove(&pod.name)),
            }
        }
        let claims = |pod: Option<&Pod>| match pod.filter(|pod| pod.is_networked()) {
            Some(pod) => (Some((rank(pod), pod.name.clone())), pod.ips.clone()),
            None => (None, Vec::new()),
        };
        self.move_claims(claims(old), claims(new), endpoint.as_ref(), now);
    }

    fn node(&mut self, old: Option<&Node>, new: Option<&Node>, now: Timestamp) {
        let Some(Node { name, .. }) = old.or(new) else {
            return;
        };
        let (rank, kind) = if *name == self.node {
            (Rank::Host, EndpointKind::Host)
        } else {
            (Rank::RemoteNode, EndpointKind::RemoteNode)
        };
        let endpoint = Arc::new(name_node(kind, name));
        let rank = (rank, Name::new("", name.clone()));
        let claims = |node: Option<&Node>| {
            let addresses = node.map(|node| node.addresses.clone());
            (Some(rank.clone()), addresses.unwrap_or_default())
        };
        self.move_claims(claims(old), claims(new), Some(&endpoint), now);
    }

    fn service(&mut self, old: Option<&Service>, new: Option<&Service>, now: Timestamp) {
        let Some(Service { name, .. }) = old.or(new) else {
            return;
        };
        let endpoint = Arc::new(name_service(name));
        let rank = (Rank::Service, name.clone());
        let claims = |service: Option<&Service>| {
            let addresses = service.map(|service| service.own_addresses().collect());
            (Some(rank.clone()), addresses.unwrap_or_default())
        };
        self.move_claims(claims(old), claims(new), Some(&endpoint), now);
        let service = Arc::new(ServiceRef {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
        });
        self.move_frontends(name, &service, (frontends(old), frontends(new)));
        self.move_node_ports(name, &service, (node_ports(old), node_ports(new)));
    }

    fn move_frontends(
        &mut self,
        name: &Name,
        service: &Arc<ServiceRef>,
        (old, new): (Frontends, Frontends),
    ) {
        for frontend in old.union(&new) {
            let claim = new
                .contains(frontend)
                .then(|| (name.clone(), service.clone()));
            let (address, (protocol, port)) = *frontend;
            match self.frontends.set(*frontend, Some(name), claim) {
                Shift::None => {}
                Shift::To(service) => self.names.put_service(address, protocol, port, service),
                Shift::Gone => self.names.remove_service(address, protocol, port),
            }
        }
    }

    fn move_node_ports(
        &mut self,
        name: &Name,
        service: &Arc<ServiceRef>,
        (old, new): (BTreeSet<Port>, BTreeSet<Port>),
    ) {
        for node_port in old.union(&new) {
            let claim = new
                .contains(node_port)
                .then(|| (name.clone(), service.clone()));
            let (protocol, port) = *node_port;
            match self.node_ports.set(*node_port, Some(name), claim) {
                Shift::None => {}
                Shift::To(service) => self.names.put_node_port(protocol, port, service),
                Shift::Gone => self.names.remove_node_port(protocol, port),
            }
        }
    }

    /// Addresses that were claimed by a rank are claimed by another one now.
    fn move_claims(
        &mut self,
        (old_rank, old): (Option<(Rank, Name)>, Vec<IpAddr>),
        (new_rank, new): (Option<(Rank, Name)>, Vec<IpAddr>),
        endpoint: Option<&Arc<Endpoint>>,
        now: Timestamp,
    ) {
        for address in old.iter().filter(|address| !new.contains(address)) {
            self.claim(*address, old_rank.as_ref(), None, now);
        }
        for address in new {
            let claim = new_rank.clone().zip(endpoint.cloned());
            let old_rank = old_rank.as_ref().filter(|_| old.contains(&address));
            self.claim(address, old_rank, claim, now);
        }
    }

    fn claim(
        &mut self,
        address: IpAddr,
        old: Option<&(Rank, Name)>,
        new: Option<((Rank, Name), Arc<Endpoint>)>,
        now: Timestamp,
    ) {
        match self.addresses.set(address, old, new) {
            Shift::None => {}
            Shift::To(endpoint) => self.names.put_address(address, endpoint, now),
            Shift::Gone => self.names.remove_address(address, now),
        }
    }

    /// Names all endpoints of the view, and forgets those that are in it no more.
    pub(super) fn endpoints(&mut self, view: &EndpointView) {
        let all = view.all();
        for endpoint in &all {
            self.endpoint(endpoint);
        }
        let known: HashSet<u32> = all.iter().map(|endpoint| endpoint.id).collect();
        for forgotten in self.locals.difference(&known) {
            self.names.remove_local(*forgotten);
        }
        self.locals = known;
    }

    fn endpoint(&self, info: &EndpointInfo) {
        let Some(pod) = &info.pod else { return };
        let endpoint = match self.pods.get(pod) {
            Some(endpoint) => endpoint.clone(),
            // A pod that has left the cluster keeps the name that its endpoint had.
            None if self.locals.contains(&info.id) => return,
            // An earlier run knew it; the cluster is not known yet.
            None => Arc::new(bare_pod(pod)),
        };
        let mode = info.mode;
        self.names
            .put_local(info.id, LocalEndpoint { endpoint, mode });
    }

    fn name_pod(&mut self, pod: &Pod) -> Endpoint {
        let (identity, labels) = self.labels(pod);
        Endpoint {
            kind: EndpointKind::Pod,
            identity,
            namespace: pod.name.namespace.clone(),
            name: pod.name.name.clone(),
            labels,
            workload: pod.owner.as_ref().map(|owner| Workload {
                kind: owner.kind.clone(),
                name: owner.name.clone(),
            }),
        }
    }

    /// The identity and labels of one more pod.
    fn labels(&mut self, pod: &Pod) -> (u32, Arc<[Arc<str>]>) {
        let key = (pod.name.namespace.clone(), pod.labels.clone());
        let identities = &mut self.identities;
        let set = self.label_sets.entry(key).or_insert_with(|| {
            // Labels are ordered by key, which is not always the order of `key=value`.
            let labels = pod.labels.iter();
            let mut labels: Vec<Arc<str>> = labels
                .map(|(key, value)| format!("{key}={value}").into())
                .collect();
            labels.sort();
            LabelSet {
                identity: identities.number(&pod.name.namespace, &labels),
                labels: labels.into(),
                pods: 0,
            }
        });
        set.pods += 1;
        (set.identity, set.labels.clone())
    }

    /// One pod less has these labels.
    fn forget_labels(&mut self, pod: &Pod) {
        let key = (pod.name.namespace.clone(), pod.labels.clone());
        let Some(set) = self.label_sets.get_mut(&key) else {
            return;
        };
        set.pods -= 1;
        if set.pods == 0 {
            self.identities.forget(set.identity);
            self.label_sets.remove(&key);
        }
    }
}

fn pod(object: &Object) -> Option<&Pod> {
    match object {
        Object::Pod(pod) => Some(pod),
        _ => None,
    }
}

fn node(object: &Object) -> Option<&Node> {
    match object {
        Object::Node(node) => Some(node),
        _ => None,
    }
}

fn service(object: &Object) -> Option<&Service> {
    match object {
        Object::Service(service) => Some(service),
        _ => None,
    }
}

fn rank(pod: &Pod) -> Rank {
    if pod.terminating {
        Rank::TerminatingPod
    } else {
        Rank::Pod
    }
}

/// A pod of which only the name is known.
fn bare_pod(pod: &Name) -> Endpoint {
    Endpoint {
        kind: EndpointKind::Pod,
        identity: IdentityNumbers::UNKNOWN,
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: Arc::new([]),
        workload: None,
    }
}

fn name_node(kind: EndpointKind, name: &Arc<str>) -> Endpoint {
    let identity = match kind {
        EndpointKind::Host => IdentityNumbers::HOST,
        _ => IdentityNumbers::REMOTE_NODE,
    };
    Endpoint {
        kind,
        identity,
        namespace: "".into(),
        name: name.clone(),
        labels: Arc::new([]),
        workload: None,
    }
}

fn name_service(service: &Name) -> Endpoint {
    Endpoint {
        kind: EndpointKind::Service,
        identity: 0,
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        labels: Arc::new([]),
        workload: None,
    }
}

/// Front ends at the Service's own addresses.
fn frontends(service: Option<&Service>) -> Frontends {
    let mut frontends = BTreeSet::new();
    let Some(service) = service else {
        return frontends;
    };
    for port in &service.ports {
        let number = (port.protocol.number(), port.port);
        frontends.extend(service.own_addresses().map(|address| (address, number)));
    }
    frontends
}

/// Ports at every node's addresses.
fn node_ports(service: Option<&Service>) -> BTreeSet<Port> {
    let ports = service.into_iter().flat_map(|service| &service.ports);
    ports
        .filter_map(|port| Some((port.protocol.number(), port.node_port?)))
        .collect()
}

#[cfg(test)]
mod tests;
