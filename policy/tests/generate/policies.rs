//! NetworkPolicies with everything that the API knows.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use proptest::sample::select;

use super::objects::{PORT_NAMES, PORTS};
use super::{named, percent, protocol};
use crate::naive::Object;

/// Blocks that nest, around the addresses of pods, nodes, Services and others; some with host bits.
const CIDRS: [&str; 20] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.0.3/29",
    "10.0.0.2/31",
    "10.0.0.1/32",
    "10.0.0.3/32",
    "10.96.0.0/24",
    "192.168.0.0/24",
    "192.168.0.1/32",
    "192.168.0.2/32",
    "203.0.113.0/24",
    "203.0.113.9/25",
    "203.0.113.9/32",
    "::/0",
    "fd00::/16",
    "fd00::1/112",
    "fd00::2/127",
    "fd00::1/128",
];

pub(super) fn policy() -> BoxedStrategy<Object> {
    let types = vec![
        None,
        None,
        None,
        Some(vec![]),
        Some(vec!["Ingress"]),
        Some(vec!["Egress"]),
        Some(vec!["Egress", "Ingress"]),
        Some(vec!["Ingress", "Egress"]),
    ];
    let rules = || prop::option::weighted(0.75, prop::collection::vec((peers(), ports()), 0..3));
    let pod_selector = prop_oneof![
        3 => prop::option::of(Just(LabelSelector::default())),
        3 => selector().prop_map(Some),
    ];
    let all = (
        named(&["a", "b"]),
        pod_selector,
        select(types),
        rules(),
        rules(),
    );
    all.prop_map(|(metadata, pod_selector, types, ingress, egress)| {
        let ingress = ingress.map(|rules| {
            let rules = rules.into_iter();
            rules
                .map(|(from, ports)| NetworkPolicyIngressRule { from, ports })
                .collect()
        });
        let egress = egress.map(|rules| {
            let rules = rules.into_iter();
            rules
                .map(|(to, ports)| NetworkPolicyEgressRule { to, ports })
                .collect()
        });
        let types = types.map(|types| types.into_iter().map(str::to_owned).collect());
        let spec = NetworkPolicySpec {
            pod_selector,
            policy_types: types,
            ingress,
            egress,
        };
        Object::NetworkPolicy(Box::new(NetworkPolicy {
            metadata,
            spec: Some(spec),
        }))
    })
    .boxed()
}

/// A label selector.
fn selector() -> impl Strategy<Value = LabelSelector> {
    let label = |key: &'static str, of_hundred: f64| {
        prop::option::weighted(of_hundred, select(vec!["", "1", "2"])).prop_map(move |value| {
            let value = value?;
            Some((key.to_owned(), value.to_owned()))
        })
    };
    let labels = (label("a", 0.3), label("b", 0.2));
    let labels = labels.prop_map(|(a, b)| {
        let labels: BTreeMap<_, _> = a.into_iter().chain(b).collect();
        Some(labels).filter(|labels| !labels.is_empty())
    });
    let expressions = prop_oneof![
        3 => Just(Vec::new()),
        3 => prop::collection::vec(requirement(), 1..3),
    ];
    (labels, expressions).prop_map(|(match_labels, expressions)| LabelSelector {
        match_labels,
        match_expressions: Some(expressions).filter(|list| !list.is_empty()),
    })
}

fn requirement() -> impl Strategy<Value = LabelSelectorRequirement> {
    let values = vec![vec![""], vec!["1"], vec!["2", "1"], vec!["", "2"]];
    let keys = vec!["a", "b", "kubernetes.io/metadata.name"];
    let operators = vec!["In", "NotIn", "Exists", "DoesNotExist"];
    (select(keys), select(operators), select(values)).prop_map(|(key, operator, values)| {
        let values = match key {
            "kubernetes.io/metadata.name" => vec!["x", "y"],
            _ => values,
        };
        let has_values = matches!(operator, "In" | "NotIn");
        let values = has_values.then(|| values.into_iter().map(str::to_owned).collect());
        LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values,
        }
    })
}

fn peers() -> impl Strategy<Value = Option<Vec<NetworkPolicyPeer>>> {
    prop::option::weighted(0.85, prop::collection::vec(peer(), 0..3))
}

fn peer() -> impl Strategy<Value = NetworkPolicyPeer> {
    let pods = (percent(60), selector(), selector()).prop_map(|(both, namespaces, pods)| {
        NetworkPolicyPeer {
            namespace_selector: both.then_some(namespaces),
            pod_selector: Some(pods),
            ip_block: None,
        }
    });
    let namespaces = selector().prop_map(|namespaces| NetworkPolicyPeer {
        namespace_selector: Some(namespaces),
        ..NetworkPolicyPeer::default()
    });
    let block = block().prop_map(|block| NetworkPolicyPeer {
        ip_block: Some(block),
        ..NetworkPolicyPeer::default()
    });
    prop_oneof![3 => pods, 1 => namespaces, 3 => block]
}

/// A block with some of the known blocks inside it left out.
fn block() -> impl Strategy<Value = IPBlock> {
    (select(&CIDRS[..]), any::<[bool; 20]>(), percent(60)).prop_map(|(cidr, picked, has_except)| {
        let outer = net(cidr);
        let inside = |inner: &IpNet| {
            outer.contains(inner) && outer.prefix_len() < inner.prefix_len() && has_except
        };
        let except: Vec<String> = (CIDRS.iter().zip(picked))
            .filter(|(inner, picked)| *picked && inside(&net(inner)))
            .map(|(inner, _)| (*inner).to_owned())
            .take(3)
            .collect();
        IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except).filter(|except| !except.is_empty()),
        }
    })
}

fn net(cidr: &str) -> IpNet {
    cidr.parse::<IpNet>().expect("a CIDR").trunc()
}

fn ports() -> impl Strategy<Value = Option<Vec<NetworkPolicyPort>>> {
    prop::option::weighted(0.7, prop::collection::vec(port(), 0..3))
}

fn port() -> impl Strategy<Value = NetworkPolicyPort> {
    let number = (select(&PORTS[..]), prop::option::weighted(0.4, 0u16..40));
    let number = number.prop_map(|(first, more)| {
        let end = more.map(|more| i32::from(first.saturating_add(more)));
        (Some(IntOrString::Int(i32::from(first))), end)
    });
    let name = select(&PORT_NAMES[..]);
    let name = name.prop_map(|name| (Some(IntOrString::String(name.to_owned())), None));
    let which = prop_oneof![1 => Just((None, None)), 4 => number, 3 => name];
    (protocol(), which).prop_map(|(protocol, (port, end_port))| NetworkPolicyPort {
        protocol,
        port,
        end_port,
    })
}
