//! Services, translated by nftables as kube-proxy does.

#![expect(clippy::unwrap_used, reason = "what tests share is test code too")]

mod common;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use weir_testkit::{
    Cluster, ClusterSpec, Dial, Family, Hairpin, NetNs, NodeSpec, Outcome, Pod, PodSpec, Protocol,
    ServicePort, ServiceSpec, TcpServer, Topology, UdpServer,
};

const PATIENCE: Duration = Duration::from_secs(5);
const NODE_PORT: u16 = 30_080;

fn spec(topology: Topology) -> ClusterSpec {
    let web = |name| {
        PodSpec::new("shop", name)
            .label("app", "web")
            .port("http", Protocol::Tcp, 8080)
    };
    ClusterSpec::new(topology)
        .node(
            NodeSpec::new("a")
                .pod(PodSpec::new("shop", "client"))
                .pod(web("web-1")),
        )
        .node(NodeSpec::new("b").pod(web("web-2")))
        .service(
            ServiceSpec::new("shop", "web")
                .select("app", "web")
                .service_port(ServicePort {
                    name: "http".to_owned(),
                    protocol: Protocol::Tcp,
                    port: 80,
                    target_port: 8080,
                    node_port: Some(NODE_PORT),
                })
                .port("echo", Protocol::Udp, 7, 7007),
        )
        .service(
            ServiceSpec::new("shop", "empty")
                .select("app", "none")
                .port("http", Protocol::Tcp, 80, 8080),
        )
}

fn connect(from: &NetNs, to: IpAddr, port: u16) -> Outcome {
    Dial::to((to, port)).timeout(PATIENCE).tcp(from).unwrap()
}

fn pod<'a>(cluster: &'a Cluster, name: &str) -> &'a Pod {
    cluster.pod("shop", name).unwrap()
}

fn assert_services_work(cluster: &Cluster) {
    let servers =
        ["web-1", "web-2"].map(|name| TcpServer::start(&pod(cluster, name).netns, 8080).unwrap());
    let _udp =
        ["web-1", "web-2"].map(|name| UdpServer::start(&pod(cluster, name).netns, 7007).unwrap());
    for family in Family::BOTH {
        assert_cluster_ips_answer(cluster, family);
        assert_node_ports_answer(cluster, family);
    }
    let peers = servers.map(|server| {
        server
            .peers()
            .iter()
            .map(SocketAddr::ip)
            .collect::<BTreeSet<_>>()
    });
    for peers in &peers {
        let seen = |address: &IpAddr| peers.contains(address);
        assert!(
            pod(cluster, "client").addresses.both().iter().all(seen),
            "both backends chosen: {peers:?}"
        );
        assert!(
            !cluster.external().addresses.both().iter().any(seen),
            "masqueraded: {peers:?}"
        );
    }
    let node = cluster.node("a").unwrap().addresses;
    assert!(
        node.both().iter().all(|address| peers[1].contains(address)),
        "masqueraded: {:?}",
        peers[1]
    );
}

fn assert_cluster_ips_answer(cluster: &Cluster, family: Family) {
    let client = &pod(cluster, "client").netns;
    let service = |name| cluster.service("shop", name).unwrap().addresses.of(family);
    let udp = Dial::to((service("web"), 7)).timeout(PATIENCE);
    // 40 random choices miss one of two backends once in 2^39 times.
    for _ in 0..40 {
        assert_eq!(connect(client, service("web"), 80), Outcome::Connected);
        assert_eq!(udp.udp(client).unwrap(), Outcome::Connected);
    }
    assert_eq!(
        connect(client, service("empty"), 80),
        Outcome::Refused,
        "no backend"
    );
    let node = &cluster.node("a").unwrap().netns;
    assert_eq!(
        connect(node, service("web"), 80),
        Outcome::Connected,
        "from the node itself"
    );
}

fn assert_node_ports_answer(cluster: &Cluster, family: Family) {
    let client = &pod(cluster, "client").netns;
    let outside = &cluster.external().netns;
    let node = cluster.node("a").unwrap().addresses.of(family);
    for _ in 0..40 {
        assert_eq!(
            connect(client, node, NODE_PORT),
            Outcome::Connected,
            "from a pod"
        );
        assert_eq!(
            connect(outside, node, NODE_PORT),
            Outcome::Connected,
            "from outside"
        );
    }
}

#[test]
fn services_work_with_ptp_routes() {
    let Some(cluster) = common::cluster(&spec(Topology::Ptp)) else {
        return;
    };
    assert_services_work(&cluster);
}

#[test]
fn services_work_over_bridges() {
    let Some(cluster) = common::cluster(&spec(Topology::Bridge)) else {
        return;
    };
    assert_services_work(&cluster);
}

#[test]
fn a_pod_reaches_itself_through_its_service_in_both_topologies() {
    for topology in [Topology::Ptp, Topology::Bridge] {
        let Some(mut cluster) = common::cluster(&spec(topology)) else {
            return;
        };
        cluster.remove_pod("shop", "web-2").unwrap();
        let service = cluster.service("shop", "web").unwrap().addresses;
        let web = &cluster.pod("shop", "web-1").unwrap().netns;
        let _server = TcpServer::start(web, 8080).unwrap();
        for family in Family::BOTH {
            assert_eq!(
                connect(web, service.of(family), 80),
                Outcome::Connected,
                "{topology:?} {family:?}"
            );
        }
    }
}

#[test]
fn without_hairpin_a_bridged_pod_does_not_reach_itself_through_its_service() {
    let Some(mut cluster) = common::cluster(&spec(Topology::Bridge).hairpin(Hairpin::Off)) else {
        return;
    };
    cluster.remove_pod("shop", "web-2").unwrap();
    let service = cluster.service("shop", "web").unwrap().addresses;
    let web = &cluster.pod("shop", "web-1").unwrap().netns;
    let _server = TcpServer::start(web, 8080).unwrap();
    let dial = Dial::to((service.v4, 80)).timeout(Duration::from_millis(500));
    assert_eq!(dial.tcp(web).unwrap(), Outcome::TimedOut);
}

#[test]
fn backends_follow_the_pods_that_come_and_go() {
    let Some(mut cluster) = common::cluster(&spec(Topology::Ptp)) else {
        return;
    };
    let service = cluster.service("shop", "web").unwrap().addresses.v4.into();
    let client = cluster.pod("shop", "client").unwrap().netns.clone();
    let former = cluster.pod("shop", "web-1").unwrap().clone();
    cluster.remove_pod("shop", "web-1").unwrap();
    cluster.remove_pod("shop", "web-2").unwrap();
    assert_eq!(connect(&client, service, 80), Outcome::Refused);
    cluster
        .add_pods("a", &[PodSpec::new("shop", "web-3").label("app", "web")])
        .unwrap();
    let web = cluster.pod("shop", "web-3").unwrap();
    assert_eq!(
        web.addresses, former.addresses,
        "the freed address is the next to be given"
    );
    assert_ne!(
        (&web.uid, &web.host_interface),
        (&former.uid, &former.host_interface)
    );
    let _server = TcpServer::start(&web.netns, 8080).unwrap();
    assert_eq!(connect(&client, service, 80), Outcome::Connected);
}
