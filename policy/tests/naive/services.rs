//! Services: where a connection to a front end goes, as `core/v1` and `discovery/v1` have it and kube-proxy does it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_policy::model::Protocol;
use weir_policy::tables::Query;

use super::{View, is_completed, is_protocol, named_port, phase, pod_ips, protocol_of};

type Backends = BTreeSet<(IpAddr, u16)>;

impl View<'_> {
    /// The backends of the Service port at this address; `None` if no Service is there. Of several Services the first
    /// by name has the address.
    pub(super) fn backends_of_front_end(&self, query: &Query) -> Option<Backends> {
        let protocol = protocol_of(query)?;
        for service in self.objects.services.values() {
            let Some(spec) = &service.spec else { continue };
            if spec.type_.as_deref() == Some("ExternalName") {
                continue;
            }
            for port in spec.ports.iter().flatten() {
                if is_protocol(port.protocol.as_deref(), protocol)
                    && self.is_front_end(service, port, query)
                {
                    return Some(self.backends(service, port, protocol, query.remote.is_ipv4()));
                }
            }
        }
        None
    }

    fn is_front_end(&self, service: &Service, port: &ServicePort, query: &Query) -> bool {
        let number = i32::from(query.port);
        let own = own_addresses(service);
        if port.port == number && own.contains(&query.remote) {
            return true;
        }
        let cluster_ips = cluster_ips(service);
        let mut of_family = cluster_ips.iter();
        let has_family =
            cluster_ips.is_empty() || of_family.any(|own| own.is_ipv4() == query.remote.is_ipv4());
        port.node_port == Some(number)
            && has_family
            && self.is_node(query.remote)
            && !query.remote.is_loopback()
            && !query.remote.is_unspecified()
    }

    fn backends(
        &self,
        service: &Service,
        port: &ServicePort,
        protocol: Protocol,
        is_ipv4: bool,
    ) -> Backends {
        let slices: Vec<&EndpointSlice> = (self.objects.slices.values())
            .filter(|slice| is_of(slice, service))
            .collect();
        let [ready, fallback] = if slices.is_empty() {
            self.of_pods(service, port, protocol)
        } else {
            of_slices(&slices, port, protocol)
        };
        let mut chosen = if ready.iter().any(|(ip, _)| ip.is_ipv4() == is_ipv4) {
            ready
        } else {
            fallback
        };
        chosen.retain(|(address, _)| address.is_ipv4() == is_ipv4);
        chosen
    }

    /// Where nobody made EndpointSlices (manifests): the pods that the selector picks; none without a selector.
    fn of_pods(&self, service: &Service, port: &ServicePort, protocol: Protocol) -> [Backends; 2] {
        let mut backends = [Backends::new(), Backends::new()];
        let selector = service.spec.as_ref().and_then(|s| s.selector.clone());
        let selector = selector.unwrap_or_default();
        for pod in self.objects.pods.values() {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            let picked = !selector.is_empty()
                && pod.metadata.namespace == service.metadata.namespace
                && selector.iter().all(|(k, v)| labels.get(k) == Some(v));
            let Some(number) = target_port(pod, port, protocol) else {
                continue;
            };
            if !picked || is_completed(pod) {
                continue;
            }
            let all = pod_ips(pod).into_iter().map(|address| (address, number));
            match (phase(pod), pod.metadata.deletion_timestamp.is_some()) {
                ("Running", false) => backends[0].extend(all),
                (_, true) => backends[1].extend(all),
                (_, false) => {}
            }
        }
        backends
    }
}

/// "Number or name of the port to access on the pods … If this is not specified, the value of the 'port' field is used."
fn target_port(pod: &Pod, port: &ServicePort, protocol: Protocol) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => named_port(pod, name, protocol),
    }
}

/// Ready endpoints, and those that are terminating but still serve.
fn of_slices(slices: &[&EndpointSlice], port: &ServicePort, protocol: Protocol) -> [Backends; 2] {
    let mut backends = [Backends::new(), Backends::new()];
    for slice in slices {
        let mut ports = slice.ports.iter().flatten();
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let same = ports.find(|other| {
            name(&other.name) == name(&port.name)
                && is_protocol(other.protocol.as_deref(), protocol)
        });
        let Some(number) = same.and_then(|port| port.port) else {
            continue;
        };
        let number = u16::try_from(number).expect("a port");
        for endpoint in slice.endpoints.iter().flatten() {
            let addresses = endpoint.addresses.iter();
            let all = addresses.map(|address| (address.parse().expect("an address"), number));
            match readiness(endpoint) {
                Some(0) => backends[0].extend(all),
                Some(_) => backends[1].extend(all),
                None => {}
            }
        }
    }
    backends
}

fn readiness(endpoint: &Endpoint) -> Option<usize> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (ready, serving && conditions.terminating == Some(true)) {
        (true, _) => Some(0),
        (false, true) => Some(1),
        (false, false) => None,
    }
}

fn is_of(slice: &EndpointSlice, service: &Service) -> bool {
    let labels = slice.metadata.labels.iter().flatten();
    let mut of = labels.filter(|(key, _)| *key == "kubernetes.io/service-name");
    slice.metadata.namespace == service.metadata.namespace
        && of.next().map(|(_, name)| name) == service.metadata.name.as_ref()
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let ips = service.spec.iter().flat_map(|spec| &spec.cluster_ips);
    ips.flatten()
        .filter(|ip| *ip != "None")
        .map(|ip| ip.parse().expect("an address"))
        .collect()
}

fn own_addresses(service: &Service) -> Vec<IpAddr> {
    let mut own = cluster_ips(service);
    let external = service.spec.iter().flat_map(|spec| &spec.external_ips);
    own.extend(external.flatten().map(|ip| parsed(ip)));
    let balancer = service.status.iter().flat_map(|s| &s.load_balancer);
    let ingress = balancer.flat_map(|status| status.ingress.iter().flatten());
    own.extend(ingress.filter_map(|ingress| ingress.ip.as_deref().map(parsed)));
    own
}

fn parsed(address: &str) -> IpAddr {
    address.parse().expect("an address")
}
