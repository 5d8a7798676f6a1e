//! What a cluster shall look like, before anything is made.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Error,
    plan::{MAX_NODES, MAX_PODS, MAX_SERVICES},
};

/// A cluster to be made by [`Cluster::create`](crate::Cluster::create).
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    pub(crate) topology: Topology,
    pub(crate) hairpin: Hairpin,
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) services: Vec<ServiceSpec>,
    pub(crate) namespace_labels: BTreeMap<String, BTreeMap<String, String>>,
}

/// How the pods of a node reach it and each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topology {
    /// A veth and a host route for each pod; all traffic is routed by the node (Calico, AWS VPC CNI, kindnet's ptp).
    Ptp,
    /// A Linux bridge `cni0` that is the pods' gateway; pods of one node reach each other by Ethernet (flannel, bridge).
    Bridge,
}

/// Whether a bridge port sends a frame back to where it came from, which a pod that reaches itself through its Service needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    /// It does, as most network plugins set it.
    On,
    /// It does not: the kernel's default.
    Off,
}

/// A node and its first pods.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    pub(crate) name: String,
    pub(crate) pods: Vec<PodSpec>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) ports: Vec<ContainerPort>,
    pub(crate) owner: Option<Owner>,
}

/// A port that a container declares; policies may refer to it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// The workload a pod belongs to, as `metadata.ownerReferences` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `ReplicaSet`, `DaemonSet`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The protocols that ports of pods and Services know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A Service with a cluster IP of each family. Its backends are the pods of its namespace that its selector matches.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the cluster IP.
    pub port: u16,
    /// The port at the pods.
    pub target_port: u16,
    /// The port at every node's address.
    pub node_port: Option<u16>,
}

// === impl ClusterSpec ===

impl ClusterSpec {
    /// A cluster without nodes yet.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            hairpin: Hairpin::On,
            nodes: Vec::new(),
            services: Vec::new(),
            namespace_labels: BTreeMap::new(),
        }
    }

    /// A cluster of equal nodes: `node-1`, `node-2`, ..., with pods `default/pod-<node>-<number>`, labelled `app=<their name>`.
    pub fn uniform(topology: Topology, nodes: usize, pods_per_node: usize) -> Self {
        let node = |n: usize| {
            let pod = |p: usize| {
                let name = format!("pod-{n}-{p}");
                PodSpec::new("default", &name).label("app", &name)
            };
            (1..=pods_per_node)
                .map(pod)
                .fold(NodeSpec::new(&format!("node-{n}")), NodeSpec::pod)
        };
        (1..=nodes).map(node).fold(Self::new(topology), Self::node)
    }

    /// Adds a node.
    pub fn node(mut self, node: NodeSpec) -> Self {
        self.nodes.push(node);
        self
    }

    /// Adds a Service, which the nodes translate with nftables as kube-proxy does.
    pub fn service(mut self, service: ServiceSpec) -> Self {
        self.services.push(service);
        self
    }

    /// Labels a Kubernetes namespace (besides `kubernetes.io/metadata.name`, which each has).
    pub fn namespace_label(mut self, namespace: &str, key: &str, value: &str) -> Self {
        self.namespace_labels
            .entry(namespace.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets hairpin mode of the bridge's ports; on unless said otherwise, without meaning for [`Topology::Ptp`].
    pub fn hairpin(mut self, hairpin: Hairpin) -> Self {
        self.hairpin = hairpin;
        self
    }

    /// Refuses what could not be made, before anything is made.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        at_most("node", self.nodes.len(), MAX_NODES)?;
        at_most("service", self.services.len(), MAX_SERVICES)?;
        unique("node", self.nodes.iter().map(|node| node.name.clone()))?;
        unique("service", self.services.iter().map(ServiceSpec::full_name))?;
        let pods = || self.nodes.iter().flat_map(|node| &node.pods);
        unique("pod", pods().map(PodSpec::full_name))?;
        for node in &self.nodes {
            at_most("pod", node.pods.len(), MAX_PODS)?;
            valid("node", &node.name)?;
        }
        pods().try_for_each(PodSpec::validate)?;
        for service in &self.services {
            valid("service", &service.name)?;
            valid("namespace", &service.namespace)?;
        }
        self.namespace_labels
            .keys()
            .try_for_each(|namespace| valid("namespace", namespace))
    }
}

// === impl NodeSpec ===

impl NodeSpec {
    /// A node without pods.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pods: Vec::new(),
        }
    }

    /// Adds a pod.
    pub fn pod(mut self, pod: PodSpec) -> Self {
        self.pods.push(pod);
        self
    }
}

// === impl PodSpec ===

impl PodSpec {
    /// A pod without labels, ports or owner.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
            owner: None,
        }
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Declares a port of its container. Nothing listens there until a server is started.
    pub fn port(mut self, name: &str, protocol: Protocol, port: u16) -> Self {
        self.ports.push(ContainerPort {
            name: name.to_owned(),
            protocol,
            port,
        });
        self
    }

    /// Sets the workload it belongs to.
    pub fn owner(mut self, kind: &str, name: &str) -> Self {
        self.owner = Some(Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
        });
        self
    }

    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        valid("pod", &self.name)?;
        valid("namespace", &self.namespace)
    }
}

// === impl ServiceSpec ===

impl ServiceSpec {
    /// A Service without ports whose (empty) selector matches no pod.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            selector: BTreeMap::new(),
            ports: Vec::new(),
        }
    }

    /// Requires a label of its backends.
    pub fn select(mut self, key: &str, value: &str) -> Self {
        self.selector.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a port at the cluster IP.
    pub fn port(self, name: &str, protocol: Protocol, port: u16, target_port: u16) -> Self {
        self.service_port(ServicePort {
            name: name.to_owned(),
            protocol,
            port,
            target_port,
            node_port: None,
        })
    }

    /// Adds a port with all its parts, for one that has a node port.
    pub fn service_port(mut self, port: ServicePort) -> Self {
        self.ports.push(port);
        self
    }

    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a pod is one of its backends. An empty selector matches none, as in Kubernetes.
    pub(crate) fn selects(&self, pod: &PodSpec) -> bool {
        !self.selector.is_empty()
            && pod.namespace == self.namespace
            && self
                .selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
    }
}

// === impl Protocol ===

impl Protocol {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

fn at_most(kind: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit {
        return Err(Error::TooMany { kind, limit });
    }
    Ok(())
}

fn unique(kind: &'static str, names: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(Error::Duplicate { kind, name });
        }
    }
    Ok(())
}

/// An RFC 1123 label, as Kubernetes asks of namespaces. (Pod and node names may have dots there; here a dot separates a pod's
/// namespace from its name in the name of its network namespace.)
fn valid(kind: &'static str, name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let shaped = (1..=63).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    let reserved = kind == "node" && matches!(name, "fabric" | "external");
    if !shaped || reserved {
        return Err(Error::InvalidName {
            kind,
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_collide_or_escape_are_refused() {
        for name in [
            "",
            "fabric",
            "../x",
            "a.b",
            "-a",
            "A",
            "a_b",
            &"a".repeat(64),
        ] {
            let spec = ClusterSpec::new(Topology::Ptp).node(NodeSpec::new(name));
            assert!(
                matches!(spec.validate(), Err(Error::InvalidName { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn the_same_pod_on_two_nodes_is_refused() {
        let pod = || PodSpec::new("default", "a");
        let spec = ClusterSpec::new(Topology::Ptp)
            .node(NodeSpec::new("n1").pod(pod()))
            .node(NodeSpec::new("n2").pod(pod()));
        assert_eq!(
            spec.validate().unwrap_err().to_string(),
            "pod default/a exists twice"
        );
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let pod = PodSpec::new("default", "a").label("app", "a");
        assert!(!ServiceSpec::new("default", "s").selects(&pod));
        assert!(
            ServiceSpec::new("default", "s")
                .select("app", "a")
                .selects(&pod)
        );
        assert!(
            !ServiceSpec::new("other", "s")
                .select("app", "a")
                .selects(&pod)
        );
    }
}
