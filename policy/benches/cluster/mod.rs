//! A large made-up cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_policy::model::{
    Cluster, IpBlock, LabelSelector, Labels, Name, Namespace, NetworkPolicy, Node, Object, Peer,
    Phase, Pod, PolicyPort, PolicyTypes, Port, Protocol, Rule,
};

const NAMESPACES: usize = 20;
const NODES: usize = 100;

/// How large.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) pods: usize,
    pub(crate) label_sets: usize,
    pub(crate) policies: usize,
}

pub(crate) fn cluster(scale: &Scale) -> Cluster {
    let namespaces = (0..NAMESPACES).map(|number| {
        let labels = Labels::default().with("team", &format!("t{}", number % 5));
        Object::Namespace(Arc::new(Namespace::new(&namespace(number), &labels)))
    });
    let nodes = (0..NODES).map(|number| {
        Object::Node(Arc::new(Node {
            name: node(number),
            labels: Labels::default(),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(172, 18, 0, number as u8 + 1))],
        }))
    });
    let pods = (0..scale.pods).map(|number| Object::Pod(Arc::new(pod(number, scale))));
    let policies =
        (0..scale.policies).map(|number| Object::NetworkPolicy(Arc::new(policy(number))));
    namespaces
        .chain(nodes)
        .chain(pods)
        .chain(policies)
        .collect()
}

fn namespace(number: usize) -> String {
    format!("ns-{}", number % NAMESPACES)
}

fn node(number: usize) -> Arc<str> {
    format!("node-{}", number % NODES).into()
}

/// Pod `number`: its namespace and labels follow from its label set.
pub(crate) fn pod(number: usize, scale: &Scale) -> Pod {
    let set = number % scale.label_sets;
    let low = number as u32;
    Pod {
        name: Name::new(namespace(set), format!("pod-{number}")),
        uid: "".into(),
        labels: Labels::default()
            .with("app", &format!("app-{}", set / NAMESPACES))
            .with("tier", &format!("tier-{}", set % 4)),
        annotations: Default::default(),
        // Spread so that a node's pods are of many label sets.
        node: node(number / scale.label_sets * 37 + set),
        ips: vec![
            IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + low + 256)),
            IpAddr::V6(Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(low) + 256)),
        ],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        ports: Arc::default(),
        owner: None,
    }
}

fn selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: [(key.into(), value.into())].into(),
        match_expressions: Vec::new(),
    }
}

fn tcp(port: u16) -> PolicyPort {
    PolicyPort {
        protocol: Protocol::Tcp,
        port: Port::Range {
            first: port,
            last: port,
        },
    }
}

/// Policies of several kinds: labels, namespaces, and now and then a block.
pub(crate) fn policy(number: usize) -> NetworkPolicy {
    let app = |offset: usize| format!("app-{}", (number + offset) % 25);
    let from = match number % 10 {
        9 => Peer::IpBlock(IpBlock {
            cidr: format!("192.168.{}.0/24", number % 200).parse().unwrap(),
            except: Vec::new(),
        }),
        kind if kind % 2 == 0 => Peer::Pods {
            namespace_selector: None,
            pod_selector: Some(selector("app", &app(1))),
        },
        _ => Peer::Pods {
            namespace_selector: Some(selector("team", &format!("t{}", number % 5))),
            pod_selector: Some(selector("tier", &format!("tier-{}", number % 4))),
        },
    };
    NetworkPolicy {
        name: Name::new(namespace(number), format!("policy-{number}")),
        pod_selector: selector("app", &app(0)),
        types: PolicyTypes {
            ingress: true,
            egress: number.is_multiple_of(3),
        },
        ingress: vec![Rule {
            peers: vec![from.clone()],
            ports: vec![tcp(8000 + (number % 16) as u16)],
        }],
        egress: vec![Rule {
            peers: vec![from],
            ports: Vec::new(),
        }],
    }
}

/// A policy whose block covers 2,500 of the pods.
pub(crate) fn cover_block(round: usize) -> NetworkPolicy {
    let mut covering = policy(9);
    covering.name = Name::new("ns-1", format!("covering-{round}"));
    covering.ingress[0].peers = vec![Peer::IpBlock(IpBlock {
        cidr: "10.0.0.0/21".parse().unwrap(),
        except: Vec::new(),
    })];
    covering
}

/// One of many policies that select all pods of a namespace and say the same.
pub(crate) fn same(number: usize) -> NetworkPolicy {
    NetworkPolicy {
        name: Name::new("ns-0", format!("same-{number}")),
        pod_selector: LabelSelector::default(),
        types: PolicyTypes {
            ingress: true,
            egress: false,
        },
        ingress: vec![Rule {
            peers: vec![Peer::Pods {
                namespace_selector: None,
                pod_selector: Some(selector("app", "app-1")),
            }],
            ports: vec![tcp(80)],
        }],
        egress: Vec::new(),
    }
}
