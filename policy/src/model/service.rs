//! Services and EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Name, Protocol};

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: Name,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs`; empty if headless (`None`) or not assigned.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.selector`; empty = endpoints are managed by somebody else.
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

impl Service {
    /// The addresses that it has itself, which node ports are not of.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        (self.cluster_ips.iter())
            .chain(&self.external_ips)
            .chain(&self.load_balancer_ips)
            .copied()
    }

    /// Whether its node ports are at such addresses of nodes: those of the families of its `clusterIPs`, of both while
    /// it has none.
    pub fn has_node_ports_at(&self, address: IpAddr) -> bool {
        let mut own = self.cluster_ips.iter();
        self.cluster_ips.is_empty() || own.any(|own| own.is_ipv4() == address.is_ipv4())
    }
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Reachable inside the cluster.
    #[default]
    ClusterIp,
    /// And on a port of every node.
    NodePort,
    /// And through a load balancer.
    LoadBalancer,
    /// A DNS alias: no address of its own.
    ExternalName,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty if the only one.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port at the Service's addresses.
    pub port: u16,
    /// Port at the pods.
    pub target_port: TargetPort,
    /// Port at the nodes' addresses.
    pub node_port: Option<u16>,
}

/// `targetPort`; absent = the Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A container port's name, resolved on each pod.
    Name(Arc<str>),
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: Name,
    /// The Service: label `kubernetes.io/service-name`.
    pub service: Option<Arc<str>>,
    /// The endpoints, all of one address family.
    pub endpoints: Vec<Endpoint>,
    /// Ports that all endpoints of this slice have.
    pub ports: Vec<SlicePort>,
}

/// One entry of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Addresses that serve alike.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; absent = true.
    pub ready: bool,
    /// `conditions.serving`; absent = `ready`.
    pub serving: bool,
    /// `conditions.terminating`; absent = false.
    pub terminating: bool,
    /// `targetRef` if it is a pod.
    pub pod: Option<Name>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
}

/// One entry of a slice's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name, as in the Service.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Number; absent = all ports.
    pub port: Option<u16>,
}
