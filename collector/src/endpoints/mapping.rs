//! Which interface is which pod's: by how the node reaches the pod's address, never by the interface's name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weir_flow::Mode;
use weir_policy::model::{Cluster, Name, Pod};

use super::network::Network;

/// A pod of this node that has a network identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.uid`; tells a pod from its successor of the same name.
    pub uid: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Further addresses it may send from.
    pub more_sources: Vec<IpAddr>,
    /// Its namespace's mode, where that is not the collector's.
    pub mode: Option<Mode>,
}

/// Annotation with further addresses that a pod may send from, comma-separated.
pub const SOURCES_ANNOTATION: &str = "weir.dev/allowed-sources";

impl LocalPod {
    /// The pods of a node. Those on the host's network have the node's interfaces and addresses, and completed ones
    /// none: both are left out. Where two claim an address, the one that is not terminating has it. All in the
    /// collector's mode.
    pub fn of_node(cluster: &Cluster, node: &str) -> Vec<Self> {
        let pods = cluster.pods.values().filter(|pod| &*pod.node == node);
        Self::of(pods, |_| None)
    }

    /// The same, of a node's pods, with the modes of their namespaces.
    pub fn of<'p>(
        pods: impl Iterator<Item = &'p Arc<Pod>>,
        mode: impl Fn(&str) -> Option<Mode>,
    ) -> Vec<Self> {
        let mut pods: Vec<_> = pods.filter(|pod| pod.is_networked()).collect();
        pods.sort_by(|a, b| (a.terminating, &a.name).cmp(&(b.terminating, &b.name)));
        let mut taken = std::collections::HashSet::new();
        let mut result = Vec::new();
        for pod in pods {
            let sources = pod
                .annotations
                .get(SOURCES_ANNOTATION)
                .map(|text| parse_sources(text));
            result.push(Self {
                name: pod.name.clone(),
                uid: pod.uid.to_string(),
                addresses: pod
                    .ips
                    .iter()
                    .copied()
                    .filter(|address| taken.insert(*address))
                    .collect(),
                more_sources: sources.unwrap_or_default(),
                mode: mode(&pod.name.namespace),
            });
        }
        result
    }
}

fn parse_sources(text: &str) -> Vec<IpAddr> {
    text.split(',')
        .filter_map(|part| part.trim().parse().ok())
        .collect()
}

/// Pods by interface. A pod whose addresses lead nowhere, or to an interface that is no candidate, is left out.
pub(super) fn map<'a>(network: &Network, pods: &'a [LocalPod]) -> BTreeMap<u32, &'a LocalPod> {
    let candidates: std::collections::BTreeSet<u32> = network.candidates().collect();
    let mut mapped = BTreeMap::new();
    for pod in pods {
        let interface = pod
            .addresses
            .iter()
            .find_map(|address| network.interface_of(*address));
        if let Some(interface) = interface.filter(|interface| candidates.contains(interface)) {
            mapped.entry(interface).or_insert(pod);
        }
    }
    mapped
}

/// What to ask the network for pods that have no interface yet: (interface, address).
pub(super) fn questions<'a>(
    network: &'a Network,
    unmapped: impl Iterator<Item = &'a LocalPod> + 'a,
) -> impl Iterator<Item = (u32, IpAddr)> + 'a {
    unmapped.flat_map(|pod| &pod.addresses).flat_map(|address| {
        let reached = network.interface_of(*address).is_some();
        network
            .bridges_of(*address)
            .filter(move |_| !reached)
            .map(|bridge| (bridge, *address))
    })
}
