//! The backends of a Service port: from its EndpointSlices, or, where there are none (manifests), from its pods.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::addresses::Addresses;
use crate::model::{Endpoint, EndpointSlice, Service, ServicePort, SlicePort, TargetPort};

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

/// The pods that the Service's selector picks; a named target port is each pod's own.
pub(crate) fn of_pods(
    service: &Service,
    port: &ServicePort,
    family: Family,
    addresses: &Addresses,
) -> BTreeSet<(IpAddr, u16)> {
    let mut backends = Backends::default();
    if service.selector.is_empty() {
        return BTreeSet::new();
    }
    for pod in addresses.pods_of(&service.name.namespace).values() {
        let labels = &pod.base.value.labels;
        if !service
            .selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
        {
            continue;
        }
        let number = match &port.target_port {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => pod.base.value.named_port(name, port.protocol),
        };
        let chosen = match (pod.is_ready(), pod.is_terminating()) {
            (true, _) => &mut backends.ready,
            (false, true) => &mut backends.fallback,
            (false, false) => continue,
        };
        let own = pod.ips().filter(|address| Family::of(*address) == family);
        chosen.extend(own.filter_map(|address| Some((address, number?))));
    }
    backends.choose()
}
