//! Interfaces become pods by how their addresses are reached.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use weir_policy::model::{Cluster, Labels, Name, Object, Phase, Pod};

use super::mapping::{LocalPod, map, questions};
use super::network::{Change, Mac, Network};

const BRIDGE: u32 = 5;
const MAC: Mac = [2, 0, 0, 0, 0, 9];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn veth(index: u32, name: &str) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkNetNsId(0),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
    ];
    RouteNetlinkMessage::NewLink(link)
}

fn address(index: u32, address: &str, bits: u8) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = bits;
    message.header.family = family(ip(address));
    message.attributes = vec![AddressAttribute::Address(ip(address))];
    RouteNetlinkMessage::NewAddress(message)
}

fn route(destination: Option<&str>, bits: u8, out: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.kind = RouteType::Unicast;
    message.header.destination_prefix_length = bits;
    message.header.address_family =
        destination.map_or(AddressFamily::Inet, |text| family(ip(text)));
    message.attributes = vec![RouteAttribute::Oif(out)];
    message
        .attributes
        .extend(destination.map(|text| RouteAttribute::Destination(ip(text).into())));
    message
}

fn neighbour(index: u32, address: &str, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.family = family(ip(address));
    message.header.state = NeighbourState::Reachable;
    let destination = match ip(address) {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    message
}

fn learned(port: u32, mac: Mac, state: NeighbourState) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = port;
    message.header.family = AddressFamily::Bridge;
    message.header.state = state;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        NeighbourAttribute::Controller(BRIDGE),
    ];
    message
}

fn pod(name: &str, address: &str) -> LocalPod {
    LocalPod {
        name: Name::new("shop", name),
        uid: name.to_owned(),
        addresses: vec![ip(address)],
        more_sources: Vec::new(),
        mode: None,
    }
}

fn hear(network: &mut Network, messages: impl IntoIterator<Item = RouteNetlinkMessage>) {
    for message in messages {
        network.hear(&message);
    }
}

#[test]
fn a_route_to_one_address_names_the_pods_interface() {
    let mut network = Network::default();
    hear(
        &mut network,
        [
            veth(10, "cali1"),
            veth(11, "eni2"),
            address(10, "10.1.0.1", 32),
        ],
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::NewRoute(route(
            Some("10.1.0.2"),
            32,
            10,
        ))],
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::NewRoute(route(
            Some("fd00::3"),
            128,
            11,
        ))],
    );
    let pods = [
        pod("a", "10.1.0.2"),
        pod("b", "fd00::3"),
        pod("c", "10.1.0.4"),
    ];
    let mapped = map(&network, &pods);
    assert_eq!(mapped[&10].name.name.as_ref(), "a");
    assert_eq!(mapped[&11].name.name.as_ref(), "b");
    assert!(
        !network.is_uplink(10),
        "the ptp plugin gives the host's end an address of its own"
    );
    network.hear(&RouteNetlinkMessage::DelRoute(route(
        Some("10.1.0.2"),
        32,
        10,
    )));
    assert!(!map(&network, &pods).contains_key(&10));
}

#[test]
fn a_bridges_port_is_found_by_neighbour_and_forwarding_table() {
    let mut network = Network::default();
    hear(
        &mut network,
        [
            veth(10, "veth1"),
            veth(11, "veth2"),
            address(BRIDGE, "10.1.0.1", 24),
        ],
    );
    let pods = [pod("a", "10.1.0.2")];
    assert_eq!(
        questions(&network, pods.iter()).collect::<Vec<_>>(),
        [(BRIDGE, ip("10.1.0.2"))]
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::NewNeighbour(neighbour(
            BRIDGE, "10.1.0.2", MAC,
        ))],
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::NewNeighbour(learned(
            11,
            MAC,
            NeighbourState::Permanent,
        ))],
    );
    assert!(
        map(&network, &pods).is_empty(),
        "a port's own hardware address says nothing"
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::NewNeighbour(learned(
            10,
            MAC,
            NeighbourState::Reachable,
        ))],
    );
    assert_eq!(map(&network, &pods)[&10].name.name.as_ref(), "a");
    assert_eq!(questions(&network, pods.iter()).count(), 0);
    hear(
        &mut network,
        [RouteNetlinkMessage::NewNeighbour(learned(
            11,
            MAC,
            NeighbourState::Reachable,
        ))],
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::DelNeighbour(learned(
            10,
            MAC,
            NeighbourState::Reachable,
        ))],
    );
    assert_eq!(
        map(&network, &pods).keys().copied().collect::<Vec<_>>(),
        [11],
        "it moved"
    );
}

#[test]
fn an_interface_with_a_subnet_or_a_default_route_is_no_pods() {
    let mut network = Network::default();
    hear(
        &mut network,
        [veth(10, "eth0"), veth(11, "eth1"), veth(12, "veth0")],
    );
    hear(
        &mut network,
        [address(10, "172.18.0.2", 16), address(12, "fe80::1", 64)],
    );
    hear(
        &mut network,
        [RouteNetlinkMessage::NewRoute(route(None, 0, 11))],
    );
    assert!(network.is_uplink(10) && network.is_uplink(11));
    assert!(
        !network.is_uplink(12),
        "every interface has a link-local address"
    );
    assert_eq!(network.local_addresses().len(), 2);
}

#[test]
fn leaving_a_bridge_is_not_the_end_of_an_interface() {
    let mut network = Network::default();
    hear(&mut network, [veth(10, "veth1")]);
    let RouteNetlinkMessage::NewLink(mut link) = veth(10, "veth1") else {
        unreachable!()
    };
    assert_eq!(
        network.hear(&RouteNetlinkMessage::NewLink(link.clone())),
        Change::None,
        "nothing new"
    );
    link.header.interface_family = AddressFamily::Bridge;
    assert_eq!(
        network.hear(&RouteNetlinkMessage::DelLink(link.clone())),
        Change::None
    );
    link.header.interface_family = AddressFamily::Unspec;
    assert_eq!(
        network.hear(&RouteNetlinkMessage::DelLink(link)),
        Change::LinkGone(10)
    );
    assert_eq!(network.candidates().count(), 0);
}

fn cluster_pod(name: &str, address: &str, change: impl FnOnce(&mut Pod)) -> Object {
    let mut pod = Pod {
        name: Name::new("shop", name),
        uid: name.into(),
        labels: Labels::default(),
        annotations: [].into(),
        node: "n1".into(),
        ips: vec![ip(address)],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        ports: [].into(),
        owner: None,
    };
    change(&mut pod);
    Object::Pod(pod.into())
}

#[test]
fn only_pods_with_a_network_of_their_own_on_this_node_have_endpoints() {
    let cluster: Cluster = [
        cluster_pod("a-old", "10.1.0.2", |pod| pod.terminating = true),
        cluster_pod("a-new", "10.1.0.2", |_| {}),
        cluster_pod("host", "172.18.0.2", |pod| pod.host_network = true),
        cluster_pod("done", "10.1.0.3", |pod| pod.phase = Phase::Succeeded),
        cluster_pod("far", "10.2.0.2", |pod| pod.node = "n2".into()),
    ]
    .into_iter()
    .collect();
    let pods = LocalPod::of_node(&cluster, "n1");
    let names: Vec<_> = pods.iter().map(|pod| pod.name.name.as_ref()).collect();
    assert_eq!(names, ["a-new", "a-old"]);
    assert_eq!(
        pods[0].addresses,
        [ip("10.1.0.2")],
        "the one that stays has the address"
    );
    assert!(pods[1].addresses.is_empty());
}
