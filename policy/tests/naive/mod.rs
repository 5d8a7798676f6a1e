//! NetworkPolicy v1 as its API text reads, with nothing made fast: loops over policies, rules and peers of the API's own
//! types. It shares no code with the manifest reader, the model or the compiler; only what is asked ([`Query`]) and the
//! names of the answers are theirs.

mod objects;
mod policies;
mod services;

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_policy::model::{Direction, Name, Protocol};
use weir_policy::tables::{Origin, ProtocolClass, Query};

pub(crate) use objects::{Object, Objects};

/// A cluster as one node sees it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) node: &'a str,
    /// Addresses of the node's own interfaces.
    pub(crate) local: &'a BTreeSet<IpAddr>,
}

/// Why a connection may be opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Itself,
    OwnNode,
    NotIsolated,
    /// The first rule that allows it: policies by name, rules in their order.
    Rule(RuleName),
}

/// Why it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyNot {
    DefaultDeny,
    NoBackends,
    /// At least one backend of a Service is denied.
    Backends,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleName {
    pub(crate) policy: Name,
    pub(crate) index: usize,
}

/// What the API's text says of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// For any of these reasons.
    Allow(BTreeSet<Why>),
    Deny(WhyNot),
}

impl View<'_> {
    /// Whether a pod is on this node and policies are about it.
    pub(crate) fn is_endpoint(&self, pod: &Name) -> bool {
        let pod = self.objects.pods.get(pod);
        pod.is_some_and(|pod| {
            let spec = pod.spec.as_ref();
            let node = spec.and_then(|spec| spec.node_name.as_deref());
            node == Some(self.node) && !is_host_network(pod) && !is_completed(pod)
        })
    }

    /// Whether `pod` may open or accept the connection; `None` if it is no endpoint.
    pub(crate) fn judge(&self, pod: &Name, query: &Query) -> Option<Answer> {
        let endpoint = self.objects.pods.get(pod)?;
        self.is_endpoint(pod)
            .then(|| self.judge_endpoint(endpoint, query))
    }

    fn judge_endpoint(&self, pod: &Pod, query: &Query) -> Answer {
        let mut reasons = BTreeSet::new();
        let policies = self.selecting(pod, query.direction);
        // "A Pod cannot block access to itself" and "traffic to and from the node where a Pod is running is always
        // allowed" (concept page, "Prerequisites" and "What you can't do").
        if query.remote == query.local {
            reasons.insert(Why::Itself);
        }
        if policies.is_empty() {
            reasons.insert(Why::NotIsolated);
        }
        if reasons.is_empty()
            && query.direction == Direction::Egress
            && let Some(backends) = self.backends_of_front_end(query)
        {
            return self.by_service(pod, &policies, query, &backends);
        }
        reasons.extend(self.own_node(query));
        let rule = self.allowing_rule(pod, &policies, query.direction, query);
        reasons.extend(rule.map(Why::Rule));
        if reasons.is_empty() {
            Answer::Deny(WhyNot::DefaultDeny)
        } else {
            Answer::Allow(reasons)
        }
    }

    fn own_node(&self, query: &Query) -> Option<Why> {
        match (query.direction, query.origin) {
            (Direction::Egress, _) | (Direction::Ingress, Origin::Local | Origin::AddressOnly) => {
                self.is_own_node(query.remote).then_some(Why::OwnNode)
            }
            // It came back from the pod's own Service with a node's address.
            (Direction::Ingress, Origin::Hairpin) => {
                self.is_node(query.remote).then_some(Why::Itself)
            }
            (Direction::Ingress, Origin::Forwarded) => None,
        }
    }

    /// A connection to a Service goes to any of its backends: all must be allowed.
    fn by_service(
        &self,
        pod: &Pod,
        policies: &[&k8s_openapi::api::networking::v1::NetworkPolicy],
        query: &Query,
        backends: &BTreeSet<(IpAddr, u16)>,
    ) -> Answer {
        if backends.is_empty() {
            return Answer::Deny(WhyNot::NoBackends);
        }
        let mut reasons = BTreeSet::new();
        for (remote, port) in backends {
            let behind = Query {
                remote: *remote,
                port: *port,
                ..*query
            };
            if let Some(why) = self.own_node(&behind) {
                reasons.insert(why);
                continue;
            }
            let mut one = BTreeSet::new();
            // Unless a pod of another node has taken the address: this one's days are over.
            let owner = self.claimant(*remote).map(|pod| name_of(&pod.metadata));
            if *remote == query.local && owner.is_some_and(|owner| self.is_endpoint(&owner)) {
                one.insert(Why::Itself);
            }
            let rule = self.allowing_rule(pod, policies, query.direction, &behind);
            one.extend(rule.map(Why::Rule));
            if one.is_empty() {
                return Answer::Deny(WhyNot::Backends);
            }
            reasons.extend(one);
        }
        // Of the rules that are needed for the backends the first is named.
        let named = reasons.iter().find(|why| matches!(why, Why::Rule(_)));
        let named = named.cloned();
        reasons.retain(|why| !matches!(why, Why::Rule(_)) || Some(why) == named.as_ref());
        Answer::Allow(reasons)
    }

    /// The pod that has an address; a node's address is no pod's.
    fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        let pod = self.claimant(address);
        pod.filter(|_| !self.is_node(address))
    }

    /// The pod that claims an address: not a completed one, nor one in its node's network. While a dying pod and its
    /// successor have the same, the one that lives on; else the one that has come further; else the first by name.
    fn claimant(&self, address: IpAddr) -> Option<&Pod> {
        let rank = |pod: &Pod| {
            let phase = match phase(pod) {
                "Running" => 0,
                "Pending" => 1,
                _ => 2,
            };
            (pod.metadata.deletion_timestamp.is_some(), phase)
        };
        let pods = self.objects.pods.values();
        pods.filter(|pod| !is_host_network(pod) && !is_completed(pod))
            .filter(|pod| pod_ips(pod).contains(&address))
            .min_by_key(|pod| (rank(pod), name_of(&pod.metadata)))
    }

    fn is_own_node(&self, address: IpAddr) -> bool {
        let node = self.objects.nodes.get(self.node);
        self.local.contains(&address)
            || node.is_some_and(|node| objects::node_addresses(node).contains(&address))
    }

    fn is_node(&self, address: IpAddr) -> bool {
        let mut nodes = self.objects.nodes.values();
        self.local.contains(&address)
            || nodes.any(|node| objects::node_addresses(node).contains(&address))
    }
}

/// Namespace and name.
pub(crate) fn name_of(meta: &ObjectMeta) -> Name {
    let namespace = meta.namespace.clone().unwrap_or_default();
    Name::new(namespace, meta.name.clone().unwrap_or_default())
}

/// `status.podIPs`.
pub(crate) fn pod_ips(pod: &Pod) -> Vec<IpAddr> {
    let ips = pod.status.iter().flat_map(|status| &status.pod_ips);
    ips.flatten()
        .map(|ip| ip.ip.parse().expect("an address"))
        .collect()
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status.and_then(|s| s.phase.as_deref()).unwrap_or("Running")
}

fn is_completed(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

fn is_host_network(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.host_network).unwrap_or(false)
}

/// The number of a named port: the first declaration of the name with the protocol, in any container that lives as
/// long as the pod.
fn named_port(pod: &Pod, name: &str, protocol: Protocol) -> Option<u16> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    let sidecars = init.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = (spec.containers.iter().chain(sidecars))
        .flat_map(|container| container.ports.iter().flatten());
    let mut named = ports.filter(|port| {
        port.name.as_deref() == Some(name) && is_protocol(port.protocol.as_deref(), protocol)
    });
    named
        .next()
        .map(|port| u16::try_from(port.container_port).expect("a port"))
}

/// Whether a `protocol` field says so; absent means TCP.
fn is_protocol(field: Option<&str>, protocol: Protocol) -> bool {
    let says = match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    field.unwrap_or("TCP") == says
}

fn protocol_of(query: &Query) -> Option<Protocol> {
    match query.protocol {
        ProtocolClass::Named(protocol) => Some(protocol),
        ProtocolClass::Other => None,
    }
}
