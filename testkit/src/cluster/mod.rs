//! A cluster that stands: making it, changing it, finding its parts.

mod parts;

pub use parts::{Family, Host, Node, Pod, Service};

use std::collections::BTreeMap;

use crate::{
    ClusterSpec, Error, Hairpin, NetNs, PodSpec, Swept, Teardown, Topology,
    lifetime::{self, ClusterId, Marker},
    plan::{self, MAX_PODS, MacAddr, MacOf},
    program, services,
    wiring::{fabric, pods, switches},
};

/// Nodes and pods made of network namespaces on this machine, removed when the value is dropped.
///
/// Nothing is added to the namespace the machine lives in. If the process dies without dropping it, the next
/// [`Cluster::create`] or [`Cluster::sweep_stale`] of any process removes what is left.
#[derive(Debug)]
pub struct Cluster {
    id: ClusterId,
    topology: Topology,
    hairpin: Hairpin,
    fabric: NetNs,
    external: Host,
    nodes: Vec<Node>,
    services: Vec<Service>,
    namespace_labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Counts pods ever made, so that interface names and uids are not used twice.
    pods_made: u32,
    teardown: Teardown,
}

// === impl Cluster ===

impl Cluster {
    /// Makes a cluster: all interfaces up, all routes set, Services translated.
    ///
    /// First removes what dead processes left of theirs. What was made until an error is removed again.
    ///
    /// # Errors
    /// No root; `ip` or (where there are Services) `nft` missing; an invalid specification; a kernel that refuses.
    pub fn create(spec: &ClusterSpec) -> Result<Self, Error> {
        program::require_root()?;
        spec.validate()?;
        if let Err(error) = lifetime::sweep_stale() {
            tracing::warn!(%error, "could not remove the remains of a dead cluster");
        }
        let marker = Marker::claim()?;
        let mut cluster = Self::planned(spec, marker)?;
        cluster.wire_fabric()?;
        for node in &spec.nodes {
            cluster.place_pods(&node.name, &node.pods)?;
        }
        cluster.translate_services()?;
        Ok(cluster)
    }

    /// Removes what clusters left behind whose process died without removing them. Living clusters are not touched.
    ///
    /// # Errors
    /// No root, or something could not be removed.
    pub fn sweep_stale() -> Result<Vec<Swept>, Error> {
        program::require_root()?;
        lifetime::sweep_stale()
    }

    /// Removes the cluster now, and says so if that fails (dropping it only logs the failure). See [`Teardown::run`].
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.teardown.run()
    }

    /// A handle that removes the cluster from elsewhere, as from a handler of Ctrl-C.
    pub fn teardown(&self) -> Teardown {
        self.teardown.clone()
    }

    /// The six digits that are part of all its names: namespaces are called `weir-<id>-<node>` and
    /// `weir-<id>-<namespace>.<pod>`, pins are below `/sys/fs/bpf/weir-<id>/<node>`.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// How pods reach their node.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The namespace that joins the nodes; `.1` in their subnet. A place for what serves all nodes and is no pod.
    pub fn fabric(&self) -> Host {
        Host {
            netns: self.fabric.clone(),
            addresses: plan::ROUTER,
        }
    }

    /// The host outside the cluster.
    pub fn external(&self) -> &Host {
        &self.external
    }

    /// All nodes, in the order of the specification.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All pods of all nodes.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(Node::pods)
    }

    /// All Services.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Labels of Kubernetes namespaces, as the specification gave them.
    pub(crate) fn namespace_labels(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.namespace_labels
    }

    /// The node of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&Node, Error> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(not_found("node", name))
    }

    /// The pod of that namespace and name.
    ///
    /// # Errors
    /// There is none.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<&Pod, Error> {
        self.pods()
            .find(|pod| pod.spec.namespace == namespace && pod.spec.name == name)
            .ok_or_else(not_found("pod", &format!("{namespace}/{name}")))
    }

    /// The Service of that namespace and name.
    ///
    /// # Errors
    /// There is none.
    pub fn service(&self, namespace: &str, name: &str) -> Result<&Service, Error> {
        self.services
            .iter()
            .find(|service| service.spec.namespace == namespace && service.spec.name == name)
            .ok_or_else(not_found("service", &format!("{namespace}/{name}")))
    }

    /// Adds pods to a node of the standing cluster; Services that select them take them as backends.
    ///
    /// # Errors
    /// As [`Cluster::create`]; what was half made is removed with the cluster.
    pub fn add_pods(&mut self, node: &str, specs: &[PodSpec]) -> Result<(), Error> {
        for spec in specs {
            spec.validate()?;
            let (namespace, name) = (&spec.namespace, &spec.name);
            let twice = specs
                .iter()
                .filter(|other| other.full_name() == spec.full_name())
                .count()
                > 1;
            if twice || self.pod(namespace, name).is_ok() {
                return Err(Error::Duplicate {
                    kind: "pod",
                    name: spec.full_name(),
                });
            }
        }
        self.place_pods(node, specs)?;
        self.translate_services()
    }

    /// Removes a pod: its processes, its interface, its namespace. The next pod of its node gets its addresses.
    ///
    /// # Errors
    /// There is no such pod, or it cannot be removed.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) -> Result<(), Error> {
        let pod = self.pod(namespace, name)?;
        let (netns, interface, node) = (
            pod.netns.clone(),
            pod.host_interface.clone(),
            pod.node.clone(),
        );
        self.node(&node)?
            .netns
            .ip(&[format!("link del {interface}")])?;
        lifetime::remove_netns(&self.id, &netns.path())?;
        for node in &mut self.nodes {
            node.pods.retain(|pod| pod.netns != netns);
        }
        self.translate_services()
    }

    /// A pod with addresses and names of its own that no other pod of the cluster has.
    pub(crate) fn plan_pod(&mut self, node: &str, spec: &PodSpec) -> Result<Pod, Error> {
        spec.validate()?;
        let node = self.node(node)?;
        let slot = free_slot(node.pods.iter())?;
        let serial = self.pods_made + 1;
        let pod = Pod::planned(&self.id, self.topology, node, slot, serial, spec);
        self.pods_made = serial;
        Ok(pod)
    }

    pub(crate) fn cluster_id(&self) -> &ClusterId {
        &self.id
    }

    fn planned(spec: &ClusterSpec, marker: Marker) -> Result<Self, Error> {
        let id = marker.id().clone();
        let services = (0u8..)
            .zip(&spec.services)
            .map(|(slot, spec)| Service {
                spec: spec.clone(),
                addresses: plan::service(slot),
            })
            .collect();
        let nodes = (1u8..)
            .zip(&spec.nodes)
            .map(|(index, node)| Node::planned(&id, index, &node.name))
            .collect();
        Ok(Self {
            topology: spec.topology,
            hairpin: spec.hairpin,
            fabric: NetNs::named(&id.name_of("fabric")),
            external: Host {
                netns: NetNs::named(&id.name_of("external")),
                addresses: plan::EXTERNAL,
            },
            nodes,
            services,
            namespace_labels: spec.namespace_labels.clone(),
            pods_made: 0,
            teardown: Teardown::new(marker),
            id,
        })
    }

    fn wire_fabric(&self) -> Result<(), Error> {
        let others = [&self.fabric, &self.external.netns];
        let namespaces = self.nodes.iter().map(|node| &node.netns).chain(others);
        program::ip_batch(None, &add_lines(namespaces))?;
        switches::set_router(&self.fabric)?;
        switches::set_host(&self.external.netns)?;
        for node in &self.nodes {
            switches::set_node(&node.netns, self.topology)?;
        }
        // A route needs its interface up: both ends of the uplinks first, then what leads over them.
        self.fabric
            .ip(&fabric::fabric(&self.nodes, self.external.netns.name()))?;
        self.external.netns.ip(&fabric::external())?;
        for node in &self.nodes {
            let mut lines = fabric::node(node, &self.nodes);
            lines.extend(pods::node(self.topology, node.index));
            node.netns.ip(&lines)?;
        }
        Ok(())
    }

    fn place_pods(&mut self, node: &str, specs: &[PodSpec]) -> Result<(), Error> {
        let first_serial = self.pods_made + 1;
        let topology = self.topology;
        let hairpin = self.hairpin;
        let node = self
            .nodes
            .iter_mut()
            .find(|candidate| candidate.name == node)
            .ok_or_else(not_found("node", node))?;
        let mut new = Vec::new();
        for (serial, spec) in (first_serial..).zip(specs) {
            let slot = free_slot(node.pods.iter().chain(&new))?;
            new.push(Pod::planned(&self.id, topology, node, slot, serial, spec));
            self.pods_made = serial;
        }
        program::ip_batch(None, &add_lines(new.iter().map(|pod| &pod.netns)))?;
        new.iter()
            .try_for_each(|pod| switches::set_host(&pod.netns))?;
        node.netns
            .ip(&new.iter().map(pods::veth).collect::<Vec<_>>())?;
        if topology == Topology::Ptp {
            let interfaces: Vec<&str> = new.iter().map(|pod| pod.host_interface.as_str()).collect();
            switches::set_proxy(&node.netns, &interfaces)?;
        }
        node.netns.ip(&new
            .iter()
            .flat_map(|pod| pods::host_end(topology, hairpin, pod))
            .collect::<Vec<_>>())?;
        for pod in &new {
            pod.netns.ip(&pods::pod_end(topology, node.index, pod))?;
        }
        node.pods.extend(new);
        Ok(())
    }

    fn translate_services(&self) -> Result<(), Error> {
        if self.services.is_empty() {
            return Ok(());
        }
        let ruleset = services::ruleset(&self.services, &self.pods().collect::<Vec<_>>());
        self.nodes
            .iter()
            .try_for_each(|node| program::nft(&node.netns, &ruleset))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.teardown.run() {
            tracing::error!(cluster = %self.id, %error, "could not remove the cluster; the next one will try again");
        }
    }
}

fn add_lines<'a>(namespaces: impl Iterator<Item = &'a NetNs>) -> Vec<String> {
    namespaces
        .map(|netns| format!("netns add {}", netns.name()))
        .collect()
}

fn free_slot<'a>(taken: impl Iterator<Item = &'a Pod>) -> Result<u8, Error> {
    let taken: Vec<u8> = taken.map(|pod| pod.slot).collect();
    (0..=u8::MAX)
        .take(MAX_PODS)
        .find(|slot| !taken.contains(slot))
        .ok_or(Error::TooMany {
            kind: "pod",
            limit: MAX_PODS,
        })
}

fn not_found(kind: &'static str, name: &str) -> impl FnOnce() -> Error {
    let name = name.to_owned();
    move || Error::NotFound { kind, name }
}
