//! Everybody reaches everybody, in both topologies and both families.

#![expect(clippy::unwrap_used, reason = "what tests share is test code too")]

mod common;

use std::{net::SocketAddr, time::Duration};

use weir_testkit::{
    Addresses, Capture, Cluster, ClusterSpec, Dial, Direction, Family, NetNs, Outcome, TcpServer,
    Topology, UdpServer,
};

const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 1234;

/// TCP, UDP and ICMP from one namespace to another; each side sees the other's own address.
fn assert_reaches(from: &NetNs, source: Addresses, to: &NetNs, destination: Addresses) {
    let tcp = TcpServer::start(to, PORT).unwrap();
    let udp = UdpServer::start(to, PORT).unwrap();
    for family in Family::BOTH {
        let what = format!("{} to {} {family:?}", from.name(), to.name());
        let dial = Dial::to((destination.of(family), PORT)).timeout(PATIENCE);
        assert_eq!(dial.tcp(from).unwrap(), Outcome::Connected, "TCP {what}");
        assert_eq!(dial.udp(from).unwrap(), Outcome::Connected, "UDP {what}");
        assert_eq!(
            from.ping(destination.of(family), PATIENCE).unwrap(),
            Outcome::Connected,
            "ICMP {what}"
        );
    }
    let expected = source.both();
    let hosts = |peers: Vec<SocketAddr>| peers.iter().map(SocketAddr::ip).collect::<Vec<_>>();
    assert_eq!(hosts(udp.peers()), expected);
    // The connect returns before the accept: the session below is accepted after both.
    let mut session = Dial::to((destination.v4, PORT)).session(from).unwrap();
    assert_eq!(session.ping(PATIENCE).unwrap(), Outcome::Connected);
    assert_eq!(hosts(tcp.peers())[..2], expected);
    assert_eq!(tcp.connections_seen(), 3);
}

fn assert_all_reach_all(cluster: &Cluster) {
    let pod = |name| cluster.pod("default", name).unwrap();
    let (a, same_node, other_node) = (pod("pod-1-1"), pod("pod-1-2"), pod("pod-2-1"));
    let external = cluster.external();
    let node = cluster.node("node-1").unwrap();
    assert_reaches(&a.netns, a.addresses, &same_node.netns, same_node.addresses);
    assert_reaches(
        &a.netns,
        a.addresses,
        &other_node.netns,
        other_node.addresses,
    );
    assert_reaches(&a.netns, a.addresses, &external.netns, external.addresses);
    assert_reaches(&external.netns, external.addresses, &a.netns, a.addresses);
    assert_reaches(&a.netns, a.addresses, &node.netns, node.addresses);
    let fabric = cluster.fabric();
    assert_reaches(&node.netns, node.addresses, &fabric.netns, fabric.addresses);
    let far = cluster.node("node-2").unwrap();
    assert_reaches(&far.netns, far.addresses, &a.netns, a.addresses);
}

#[test]
fn all_reach_all_with_ptp_routes() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 2, 2)) else {
        return;
    };
    assert_all_reach_all(&cluster);
}

#[test]
fn all_reach_all_over_bridges() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Bridge, 2, 2)) else {
        return;
    };
    assert_all_reach_all(&cluster);
}

#[test]
fn a_node_reaches_its_own_pod() {
    for topology in [Topology::Ptp, Topology::Bridge] {
        let Some(cluster) = common::cluster(&ClusterSpec::uniform(topology, 1, 1)) else {
            return;
        };
        let pod = cluster.pod("default", "pod-1-1").unwrap();
        let node = cluster.node("node-1").unwrap();
        let server = TcpServer::start(&pod.netns, PORT).unwrap();
        for address in pod.addresses.both() {
            let mut session = Dial::to((address, PORT))
                .timeout(PATIENCE)
                .session(&node.netns)
                .unwrap();
            assert_eq!(session.ping(PATIENCE).unwrap(), Outcome::Connected);
        }
        assert_eq!(server.connections_seen(), 2);
    }
}

#[test]
fn outcomes_tell_refusal_from_silence_from_no_way() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 2)) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let b = cluster.pod("default", "pod-1-2").unwrap();
    let short = Duration::from_millis(300);
    for family in Family::BOTH {
        let dial = Dial::to((b.addresses.of(family), PORT)).timeout(PATIENCE);
        assert_eq!(dial.tcp(&a.netns).unwrap(), Outcome::Refused);
        assert_eq!(dial.udp(&a.netns).unwrap(), Outcome::Refused);
    }
    b.netns
        .ip(&[
            format!("route add blackhole {}", a.addresses.v4),
            format!("route add blackhole {}", a.addresses.v6),
        ])
        .unwrap();
    for family in Family::BOTH {
        let dial = Dial::to((b.addresses.of(family), PORT)).timeout(short);
        assert_eq!(dial.tcp(&a.netns).unwrap(), Outcome::TimedOut);
        assert_eq!(dial.udp(&a.netns).unwrap(), Outcome::TimedOut);
        assert_eq!(
            a.netns.ping(b.addresses.of(family), short).unwrap(),
            Outcome::TimedOut
        );
    }
    let node = cluster.node("node-1").unwrap();
    node.netns
        .ip(&[
            "route add unreachable 198.51.100.0/24",
            "route add unreachable 2001:db8:dead::/64",
        ])
        .unwrap();
    for nowhere in ["198.51.100.1:80", "[2001:db8:dead::1]:80"] {
        let dial = Dial::to(nowhere.parse::<SocketAddr>().unwrap()).timeout(PATIENCE);
        assert_eq!(
            dial.tcp(&a.netns).unwrap(),
            Outcome::Unreachable,
            "{nowhere}"
        );
    }
}

#[test]
fn a_capture_shows_the_syn_that_arrived_and_none_that_was_dropped_before() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 2)) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let b = cluster.pod("default", "pod-1-2").unwrap();
    let _server = TcpServer::start(&b.netns, PORT).unwrap();
    let mut capture = Capture::start(&b.netns, "eth0").unwrap();
    let dial = Dial::to((b.addresses.v4, PORT)).timeout(Duration::from_millis(300));
    let node = cluster.node("node-1").unwrap();
    node.netns
        .ip(&[format!("route replace blackhole {}/32", b.addresses.v4)])
        .unwrap();
    assert_eq!(
        dial.tcp(&a.netns).unwrap_or(Outcome::Unreachable),
        Outcome::TimedOut
    );
    assert!(!capture.syn_arrived(PORT).unwrap());
    node.netns
        .ip(&[
            format!("route del blackhole {}/32", b.addresses.v4),
            format!(
                "route replace {}/32 dev {}",
                b.addresses.v4, b.host_interface
            ),
        ])
        .unwrap();
    assert_eq!(
        dial.timeout(PATIENCE).tcp(&a.netns).unwrap(),
        Outcome::Connected
    );
    assert!(capture.syn_arrived(PORT).unwrap());
    let syn = capture.syns().unwrap()[0];
    assert_eq!(syn.direction, Direction::In);
    assert_eq!(syn.source.ip(), a.addresses.v4);
    assert_eq!(syn.destination, SocketAddr::from((b.addresses.v4, PORT)));
    assert_eq!(capture.missed(), 0);
}

#[test]
fn the_same_source_port_can_be_taken_again_and_a_reset_ends_a_session() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 2)) else {
        return;
    };
    let a = cluster.pod("default", "pod-1-1").unwrap();
    let b = cluster.pod("default", "pod-1-2").unwrap();
    let server = TcpServer::start(&b.netns, PORT).unwrap();
    let dial = Dial::to((b.addresses.v6, PORT))
        .from((a.addresses.v6, 40_000))
        .timeout(PATIENCE);
    for _ in 0..3 {
        let mut session = dial.session(&a.netns).unwrap();
        assert_eq!(session.ping(PATIENCE).unwrap(), Outcome::Connected);
        assert_eq!(
            session.local_addr().unwrap(),
            SocketAddr::from((a.addresses.v6, 40_000))
        );
        session.abort().unwrap();
    }
    assert_eq!(
        server.peers(),
        [SocketAddr::from((a.addresses.v6, 40_000)); 3]
    );
    assert_eq!(server.bytes_received(), 3 * "ping 1\n".len() as u64);
    let mut session = dial.session(&a.netns).unwrap();
    assert_eq!(session.ping(PATIENCE).unwrap(), Outcome::Connected);
    drop(server);
    assert_eq!(session.ping(PATIENCE).unwrap(), Outcome::Refused);
}
