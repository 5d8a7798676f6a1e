//! Policies, rules, peers, ports, selectors and blocks, in the words of `networking/v1/types.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_policy::model::Direction;
use weir_policy::tables::Query;

use super::{RuleName, View, is_protocol, name_of, named_port, protocol_of};

type LabelMap = BTreeMap<String, String>;

/// `from` and `ports`, or `to` and `ports`.
type Rule<'a> = (
    Option<&'a Vec<NetworkPolicyPeer>>,
    Option<&'a Vec<NetworkPolicyPort>>,
);

impl View<'_> {
    /// The policies that isolate a pod in a direction, by name.
    pub(super) fn selecting(&self, pod: &Pod, direction: Direction) -> Vec<&NetworkPolicy> {
        let policies = self.objects.policies.values();
        policies
            .filter(|policy| policy.metadata.namespace == pod.metadata.namespace)
            .filter(|policy| has_type(policy, direction))
            .filter(|policy| {
                let selector = policy.spec.as_ref().and_then(|s| s.pod_selector.as_ref());
                // "This field is optional. If it is not specified, it defaults to an empty selector."
                selector.is_none_or(|selector| {
                    selects(selector, &pod.metadata.labels.clone().unwrap_or_default())
                })
            })
            .collect()
    }

    /// The first rule of these policies of `pod` that allows a connection.
    pub(super) fn allowing_rule(
        &self,
        pod: &Pod,
        policies: &[&NetworkPolicy],
        direction: Direction,
        query: &Query,
    ) -> Option<RuleName> {
        for policy in policies {
            for (index, (peers, ports)) in rules(policy, direction).into_iter().enumerate() {
                let destination = match direction {
                    Direction::Ingress => Some(pod),
                    Direction::Egress => self.pod_at(query.remote),
                };
                // "If this field is empty or missing, this rule matches all sources" (destinations, ports).
                let peer_matches = peers
                    .filter(|peers| !peers.is_empty())
                    .is_none_or(|peers| peers.iter().any(|peer| self.is(peer, policy, query)));
                let port_matches = ports
                    .filter(|ports| !ports.is_empty())
                    .is_none_or(|ports| ports.iter().any(|port| covers(port, destination, query)));
                if peer_matches && port_matches {
                    let policy = name_of(&policy.metadata);
                    return Some(RuleName { policy, index });
                }
            }
        }
        None
    }

    /// Whether the other side of a connection is this peer.
    fn is(&self, peer: &NetworkPolicyPeer, policy: &NetworkPolicy, query: &Query) -> bool {
        if let Some(block) = &peer.ip_block {
            return is_in_block(query.remote, block);
        }
        let Some(pod) = self.pod_at(query.remote) else {
            return false;
        };
        let namespace = match &peer.namespace_selector {
            Some(selector) => selects(selector, &self.namespace_labels(pod)),
            None => pod.metadata.namespace == policy.metadata.namespace,
        };
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let selector = peer.pod_selector.as_ref();
        namespace && selector.is_none_or(|selector| selects(selector, &labels))
    }

    /// The labels of a pod's namespace, with the one that the API server sets.
    fn namespace_labels(&self, pod: &Pod) -> LabelMap {
        let name = pod.metadata.namespace.clone().unwrap_or_default();
        let namespace = self.objects.namespaces.get(&name);
        let labels = namespace.and_then(|namespace| namespace.metadata.labels.clone());
        let mut labels = labels.unwrap_or_default();
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
        labels
    }
}

/// "If this field is not specified, it will default based on the existence of ingress or egress rules; policies that
/// contain an egress section are assumed to affect egress, and all policies (whether or not they contain an ingress
/// section) are assumed to affect ingress."
fn has_type(policy: &NetworkPolicy, direction: Direction) -> bool {
    let spec = policy.spec.as_ref();
    let types = spec.and_then(|spec| spec.policy_types.clone());
    let types = types.unwrap_or_default();
    let is = |name: &str| types.iter().any(|known| known == name);
    match direction {
        Direction::Ingress => types.is_empty() || is("Ingress"),
        Direction::Egress if types.is_empty() => {
            let egress = spec.and_then(|spec| spec.egress.as_ref());
            egress.is_some_and(|rules| !rules.is_empty())
        }
        Direction::Egress => is("Egress"),
    }
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> Vec<Rule<'_>> {
    let Some(spec) = &policy.spec else {
        return Vec::new();
    };
    match direction {
        Direction::Ingress => (spec.ingress.iter().flatten())
            .map(|rule| (rule.from.as_ref(), rule.ports.as_ref()))
            .collect(),
        Direction::Egress => (spec.egress.iter().flatten())
            .map(|rule| (rule.to.as_ref(), rule.ports.as_ref()))
            .collect(),
    }
}

/// Whether one entry of `ports` allows the destination port.
fn covers(port: &NetworkPolicyPort, destination: Option<&Pod>, query: &Query) -> bool {
    let Some(protocol) = protocol_of(query) else {
        return false;
    };
    if !is_protocol(port.protocol.as_deref(), protocol) {
        return false;
    }
    match (&port.port, port.end_port) {
        (None, _) => true,
        (Some(IntOrString::Int(first)), None) => i32::from(query.port) == *first,
        (Some(IntOrString::Int(first)), Some(last)) => {
            *first <= i32::from(query.port) && i32::from(query.port) <= last
        }
        (Some(IntOrString::String(name)), _) => {
            destination.and_then(|pod| named_port(pod, name, protocol)) == Some(query.port)
        }
    }
}

/// "A null or empty label selector matches all objects"; "the requirements are ANDed".
pub(super) fn selects(selector: &LabelSelector, labels: &LabelMap) -> bool {
    for (key, value) in selector.match_labels.iter().flatten() {
        if labels.get(key) != Some(value) {
            return false;
        }
    }
    for requirement in selector.match_expressions.iter().flatten() {
        let values = requirement.values.clone().unwrap_or_default();
        let holds = match (&*requirement.operator, labels.get(&requirement.key)) {
            ("In", Some(value)) => values.contains(value),
            ("NotIn", Some(value)) => !values.contains(value),
            ("Exists", Some(_)) | ("NotIn" | "DoesNotExist", None) => true,
            ("In" | "Exists", None) | ("DoesNotExist", Some(_)) => false,
            (other, _) => panic!("no operator: {other}"),
        };
        if !holds {
            return false;
        }
    }
    true
}

/// "Except is a slice of CIDRs that should not be included within an IPBlock."
fn is_in_block(address: IpAddr, block: &IPBlock) -> bool {
    let mut except = block.except.iter().flatten();
    is_in_cidr(address, &block.cidr) && !except.any(|cidr| is_in_cidr(address, cidr))
}

/// Whether the first `n` bits of `a.b.c.d/n` are the address's; the others of the CIDR do not count.
fn is_in_cidr(address: IpAddr, cidr: &str) -> bool {
    let (network, length) = cidr.split_once('/').expect("a CIDR");
    let length: u32 = length.parse().expect("a prefix length");
    let (a, b, width) = match (address, network.parse().expect("an address")) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let differing: u128 = a ^ b;
    differing.checked_shr(width - length).unwrap_or(0) == 0
}
