//! The parts of a standing cluster.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use super::{MacAddr, MacOf, plan};
use crate::{
    Error, NetNs, Topology,
    lifetime::{ClusterId, bpffs},
    plan::{Addresses, PodCidrs},
    spec::{ContainerPort, Owner, PodSpec, ServicePort, ServiceSpec},
    wiring::pods,
};

/// A host that is neither node nor pod.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its namespace.
    pub netns: NetNs,
    /// Its addresses.
    pub addresses: Addresses,
}

/// A node: a namespace that routes for its pods.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its namespace; a collector for it runs here.
    pub netns: NetNs,
    /// Its addresses on `eth0`.
    pub addresses: Addresses,
    /// The hardware address of `eth0`.
    pub mac: MacAddr,
    /// The subnets of its pods.
    pub pod_cidrs: PodCidrs,
    /// Counts from 1; part of its addresses.
    pub(crate) index: u8,
    pub(crate) pods: Vec<Pod>,
    cluster: ClusterId,
}

/// A pod: a namespace with one interface, `eth0`.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The name of its node.
    pub node: String,
    /// Its network namespace.
    pub netns: NetNs,
    /// Its addresses on `eth0`.
    pub addresses: Addresses,
    /// The hardware address of `eth0`.
    pub mac: MacAddr,
    /// The hardware address of its gateway: the one to send to when a frame is to be routed.
    pub gateway_mac: MacAddr,
    /// The name of the node's end of its veth.
    pub host_interface: String,
    /// The hardware address of the node's end.
    pub host_mac: MacAddr,
    /// Its Kubernetes uid: another one each time a pod is made, whatever its name.
    pub uid: String,
    pub(crate) slot: u8,
    pub(crate) spec: PodSpec,
}

/// A Service with its cluster IPs.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its cluster IPs.
    pub addresses: Addresses,
    pub(crate) spec: ServiceSpec,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

// === impl Node ===

impl Node {
    pub(super) fn planned(cluster: &ClusterId, index: u8, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            netns: NetNs::named(&cluster.name_of(name)),
            addresses: plan::node(index),
            mac: MacAddr::local(MacOf::Node, index, 1),
            pod_cidrs: plan::pod_cidrs(index),
            index,
            pods: Vec::new(),
            cluster: cluster.clone(),
        }
    }

    /// Its pods.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Where its collector pins, below bpffs: made (and bpffs mounted) by the first call, removed with the cluster.
    ///
    /// # Errors
    /// bpffs cannot be mounted or written to.
    pub fn pin_root(&self) -> Result<PathBuf, Error> {
        bpffs::pin_root(&self.cluster, &self.name)
    }
}

// === impl Pod ===

impl Pod {
    pub(super) fn planned(
        cluster: &ClusterId,
        topology: Topology,
        node: &Node,
        slot: u8,
        serial: u32,
        spec: &PodSpec,
    ) -> Self {
        let host_mac = MacAddr::local(MacOf::PodGateway, node.index, serial);
        Self {
            node: node.name.clone(),
            netns: NetNs::named(&cluster.name_of(&format!("{}.{}", spec.namespace, spec.name))),
            addresses: plan::pod(node.index, slot),
            mac: MacAddr::local(MacOf::Pod, node.index, serial),
            gateway_mac: match topology {
                Topology::Ptp => host_mac,
                Topology::Bridge => pods::bridge_mac(node.index),
            },
            host_interface: format!("veth{serial:08x}"),
            host_mac,
            uid: format!("00{cluster}-0000-4000-8000-{serial:012x}"),
            slot,
            spec: spec.clone(),
        }
    }

    /// Its Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.spec.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.spec.labels
    }

    /// The ports its container declares.
    pub fn ports(&self) -> &[ContainerPort] {
        &self.spec.ports
    }

    /// The workload it belongs to.
    pub fn owner(&self) -> Option<&Owner> {
        self.spec.owner.as_ref()
    }
}

// === impl Service ===

impl Service {
    /// Its Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.spec.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its ports.
    pub fn ports(&self) -> &[ServicePort] {
        &self.spec.ports
    }

    /// The labels it requires of its backends.
    pub fn selector(&self) -> &BTreeMap<String, String> {
        &self.spec.selector
    }

    /// Whether a pod is one of its backends.
    pub fn selects(&self, pod: &Pod) -> bool {
        self.spec.selects(&pod.spec)
    }
}

// === impl Addresses ===

impl Addresses {
    /// The address of one family.
    pub fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Both, IPv4 first.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

// === impl Family ===

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}
