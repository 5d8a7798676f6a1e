//! The backends of a Service port: from its EndpointSlices, or, where there are none (manifests), from its pods.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{
    Cluster, Endpoint, EndpointSlice, Labels, Name, Phase, Pod, Protocol, Service, ServicePort,
    ServiceType, SlicePort, TargetPort,
};

/// IPv4 and IPv6: a front end sends to backends of its own family only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Ready backends, and those to use if none is ready.
#[derive(Default)]
struct Backends {
    ready: BTreeSet<(IpAddr, u16)>,
    /// Terminating, but still serving.
    fallback: BTreeSet<(IpAddr, u16)>,
}

impl Backends {
    fn choose(self) -> BTreeSet<(IpAddr, u16)> {
        if self.ready.is_empty() {
            self.fallback
        } else {
            self.ready
        }
    }
}

/// As kube-proxy does it: a slice's port belongs to the Service's port of the same name and protocol; the ready
/// endpoints, or the terminating ones that still serve if none is ready.
pub(crate) fn of_slices(
    slices: &[&EndpointSlice],
    port: &ServicePort,
    family: Family,
) -> BTreeSet<(IpAddr, u16)> {
    let mut backends = Backends::default();
    for slice in slices {
        let same = |other: &&SlicePort| other.name == port.name && other.protocol == port.protocol;
        let Some(number) = slice.ports.iter().find(same).and_then(|port| port.port) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let Some(chosen) = backends.of(endpoint) else {
                continue;
            };
            let addresses = endpoint.addresses.iter().copied();
            let addresses = addresses.filter(|address| Family::of(*address) == family);
            chosen.extend(addresses.map(|address| (address, number)));
        }
    }
    backends.choose()
}

impl Backends {
    fn of(&mut self, endpoint: &Endpoint) -> Option<&mut BTreeSet<(IpAddr, u16)>> {
        if endpoint.ready {
            Some(&mut self.ready)
        } else if endpoint.serving && endpoint.terminating {
            Some(&mut self.fallback)
        } else {
            None
        }
    }
}

/// A pod as far as Services care.
pub(crate) trait Candidate {
    /// Its labels.
    fn labels(&self) -> &Labels;
    /// The number of one of its port names.
    fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16>;
    /// Its addresses.
    fn addresses(&self) -> impl Iterator<Item = IpAddr>;
    /// Whether it serves, as far as a pod object tells.
    fn is_ready(&self) -> bool;
    /// Whether it is on its way out.
    fn is_terminating(&self) -> bool;
}

impl Candidate for Pod {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        Pod::named_port(self, name, protocol)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ips.iter().copied()
    }

    fn is_ready(&self) -> bool {
        self.phase == Phase::Running && !self.terminating
    }

    fn is_terminating(&self) -> bool {
        self.terminating
    }
}

/// The pods that the Service's selector picks among those of its namespace; a named target port is each pod's own.
pub(crate) fn of_pods<'a, P: Candidate + 'a>(
    service: &Service,
    port: &ServicePort,
    family: Family,
    pods: impl IntoIterator<Item = &'a P>,
) -> BTreeSet<(IpAddr, u16)> {
    let mut backends = Backends::default();
    if service.selector.is_empty() {
        return BTreeSet::new();
    }
    for pod in pods {
        let labels = pod.labels();
        let has = |(key, value): (&Arc<str>, &Arc<str>)| labels.get(key) == Some(value);
        if !service.selector.iter().all(has) {
            continue;
        }
        let number = match &port.target_port {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => pod.named_port(name, port.protocol),
        };
        let chosen = match (pod.is_ready(), pod.is_terminating()) {
            (true, _) => &mut backends.ready,
            (false, true) => &mut backends.fallback,
            (false, false) => continue,
        };
        let own = pod
            .addresses()
            .filter(|address| Family::of(*address) == family);
        chosen.extend(own.filter_map(|address| Some((address, number?))));
    }
    backends.choose()
}

/// The backends of a Service's port in a cluster.
pub(crate) fn backends(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> BTreeSet<(IpAddr, u16)> {
    let namespace = &service.name.namespace;
    let slices: Vec<&EndpointSlice> = cluster
        .endpoint_slices
        .values()
        .map(|slice| &**slice)
        .filter(|slice| slice.name.namespace == *namespace)
        .filter(|slice| slice.service.as_ref() == Some(&service.name.name))
        .collect();
    if slices.is_empty() {
        let pods = cluster.pods.values().map(|pod| &**pod);
        let pods = pods.filter(|pod| pod.name.namespace == *namespace);
        of_pods(service, port, family, pods)
    } else {
        of_slices(&slices, port, family)
    }
}

/// The Service that answers at an address and port, and where it sends connections.
pub(crate) struct Target {
    /// The Service.
    pub(crate) service: Name,
    /// Addresses and ports of its backends, of the address's family.
    pub(crate) backends: BTreeSet<(IpAddr, u16)>,
}

/// Finds the Service behind a front end: one of its own addresses and a port, or a node's address and a node port.
pub(crate) fn target(
    cluster: &Cluster,
    address: IpAddr,
    protocol: Protocol,
    number: u16,
) -> Option<Target> {
    let on_node = || {
        let mut nodes = cluster.nodes.values();
        nodes.any(|node| node.addresses.contains(&address))
    };
    cluster.services.values().find_map(|service| {
        if service.service_type == ServiceType::ExternalName {
            return None;
        }
        let own = service.own_addresses().any(|own| own == address);
        let port = service.ports.iter().find(|port| {
            let is_own = own && port.port == number;
            let is_node_port = || {
                port.node_port == Some(number) && service.has_node_ports_at(address) && on_node()
            };
            port.protocol == protocol && (is_own || is_node_port())
        })?;
        Some(Target {
            service: service.name.clone(),
            backends: backends(cluster, service, port, Family::of(address)),
        })
    })
}
