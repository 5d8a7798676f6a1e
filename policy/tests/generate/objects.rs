//! Namespaces, nodes and pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Namespace, Node, NodeAddress, NodeStatus, Pod, PodIP, PodSpec,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{NAMESPACES, NODE, named, percent, protocol};
use crate::naive::Object;

/// Addresses that pods have; the last of each may be a node's, too.
const POD_V4: [&str; 7] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "10.0.1.1",
    "192.168.0.2",
];
const POD_V6: [&str; 5] = ["fd00::1", "fd00::2", "fd00::3", "fd00::1:1", "fd01::2"];

/// Port numbers that things have in common.
pub(super) const PORTS: [u16; 5] = [53, 80, 81, 8080, 65535];

/// Names of container ports.
pub(super) const PORT_NAMES: [&str; 3] = ["web", "dns", "metrics"];

/// Labels of pods and namespaces.
pub(super) fn labels() -> impl Strategy<Value = Option<BTreeMap<String, String>>> {
    let value = || prop::option::weighted(0.6, select(vec!["", "1", "2"]));
    (value(), value()).prop_map(|(a, b)| {
        let pairs = [("a", a), ("b", b)];
        let labels = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        Some(labels.collect::<BTreeMap<_, _>>()).filter(|labels| !labels.is_empty())
    })
}

pub(super) fn namespace() -> BoxedStrategy<Object> {
    let all = (select(&NAMESPACES[..]), labels());
    all.prop_map(|(name, labels)| {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels,
            ..ObjectMeta::default()
        };
        Object::Namespace(Box::new(Namespace {
            metadata,
            ..Namespace::default()
        }))
    })
    .boxed()
}

/// The node's addresses are mostly its own; some wander, to the other node or to a pod.
pub(super) fn node() -> BoxedStrategy<Object> {
    let own = [
        (NODE, vec!["192.168.0.1", "fd01::1", "10.0.0.5"]),
        ("n1", vec!["192.168.0.2", "fd01::2", "192.168.0.1"]),
    ];
    let all = select(own.to_vec()).prop_flat_map(|(name, addresses)| {
        let some = prop_oneof![
            4 => Just(addresses[..2].to_vec()),
            1 => subsequence(addresses, 0..=3),
        ];
        (Just(name), some)
    });
    all.prop_map(|(name, addresses)| {
        let address = |address: &str| NodeAddress {
            address: address.to_owned(),
            type_: "InternalIP".to_owned(),
        };
        let host_name = NodeAddress {
            address: name.to_owned(),
            type_: "Hostname".to_owned(),
        };
        let addresses = addresses.into_iter().map(address).chain([host_name]);
        let status = NodeStatus {
            addresses: Some(addresses.collect()),
            ..NodeStatus::default()
        };
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        Object::Node(Box::new(Node {
            metadata,
            status: Some(status),
            ..Node::default()
        }))
    })
    .boxed()
}

/// Addresses of the node's own interfaces.
pub(super) fn local() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    let known = vec!["127.0.0.1", "192.168.0.1", "10.0.0.254", "10.0.1.1"];
    subsequence(known, 0..=3).prop_map(|addresses| {
        let addresses = addresses.into_iter();
        addresses.map(|a| a.parse().expect("an address")).collect()
    })
}

pub(super) fn pod() -> BoxedStrategy<Object> {
    let deletion = prop::option::weighted(0.12, Just(Time(Timestamp::UNIX_EPOCH)));
    let metadata = (named(&["p", "q", "r", "s", "t"]), labels(), deletion);
    let metadata = metadata.prop_map(|(metadata, labels, deletion_timestamp)| ObjectMeta {
        labels,
        deletion_timestamp,
        ..metadata
    });
    let node = select(vec![Some(NODE), Some(NODE), Some(NODE), Some("n1"), None]);
    let phases = [None, None, None, None, None, None].into_iter().chain(
        [
            "Running",
            "Running",
            "Pending",
            "Unknown",
            "Succeeded",
            "Failed",
        ]
        .map(Some),
    );
    let phase = select(phases.collect::<Vec<_>>());
    (metadata, node, percent(8), containers(), phase, pod_ips())
        .prop_map(|(metadata, node, host_network, containers, phase, ips)| {
            let ip = |ip: &str| PodIP { ip: ip.to_owned() };
            // In its node's network it has its node's addresses.
            let ips = match (host_network, node) {
                (true, Some(NODE)) => vec![ip("192.168.0.1")],
                (true, _) => vec![ip("192.168.0.2")],
                (false, _) => ips.into_iter().map(ip).collect(),
            };
            let status = PodStatus {
                phase: phase.map(str::to_owned),
                pod_ips: Some(ips).filter(|ips| !ips.is_empty()),
                ..PodStatus::default()
            };
            let (containers, init_containers) = containers;
            let spec = PodSpec {
                node_name: node.map(str::to_owned),
                host_network: host_network.then_some(true),
                containers,
                init_containers,
                ..PodSpec::default()
            };
            Object::Pod(Box::new(Pod {
                metadata,
                spec: Some(spec),
                status: Some(status),
            }))
        })
        .boxed()
}

fn pod_ips() -> impl Strategy<Value = Vec<&'static str>> {
    let v4 = prop::option::weighted(0.85, select(&POD_V4[..]));
    let v6 = prop::option::weighted(0.5, select(&POD_V6[..]));
    (v4, v6).prop_map(|(v4, v6)| v4.into_iter().chain(v6).collect())
}

/// A container, and sometimes one for the start or a sidecar.
fn containers() -> impl Strategy<Value = (Vec<Container>, Option<Vec<Container>>)> {
    let restart = select(vec![None, Some("Always".to_owned())]);
    let init = (container_ports(), restart).prop_map(|(ports, restart_policy)| Container {
        name: "init".to_owned(),
        ports,
        restart_policy,
        ..Container::default()
    });
    let init = prop::option::weighted(0.2, init);
    (container_ports(), init).prop_map(|(ports, init)| {
        let main = Container {
            name: "main".to_owned(),
            ports,
            ..Container::default()
        };
        (vec![main], init.map(|init| vec![init]))
    })
}

fn container_ports() -> impl Strategy<Value = Option<Vec<ContainerPort>>> {
    let name = prop::option::weighted(0.9, select(&PORT_NAMES[..]));
    let port = (name, protocol(), select(&PORTS[..]));
    let port = port.prop_map(|(name, protocol, number)| ContainerPort {
        name: name.map(str::to_owned),
        protocol,
        container_port: i32::from(number),
        ..ContainerPort::default()
    });
    prop::option::of(prop::collection::vec(port, 0..3))
}
