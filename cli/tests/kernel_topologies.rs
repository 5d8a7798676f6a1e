//! Real packets are dropped and recorded in both topologies and both families, and in a sidecar.

mod common;

use std::net::IpAddr;

use common::{DIAL, POLICIES, Stage, is_root, pod, text, wait_for_flow};
use weir_testkit::{Capture, ClusterSpec, Dial, Family, NodeSpec, Outcome, TcpServer, Topology};

fn spec(topology: Topology) -> ClusterSpec {
    let near = NodeSpec::new("node-1")
        .pod(pod("target"))
        .pod(pod("allowed"))
        .pod(pod("other"));
    ClusterSpec::new(topology)
        .node(near)
        .node(NodeSpec::new("node-2").pod(pod("denied")))
}

fn dropped_and_named(topology: Topology, family: Family) {
    if !is_root() {
        return;
    }
    let stage = Stage::new(&spec(topology), POLICIES);
    let collector = stage.collector(
        "node-1",
        &stage.cluster.node("node-1").expect("node").netns,
        &[],
    );
    let target = stage.cluster.pod("demo", "target").expect("pod");
    let server = TcpServer::start(&target.netns, 1234).expect("server");
    let address: IpAddr = target.addresses.of(family);
    let dial = |name: &str| {
        let from = stage.cluster.pod("demo", name).expect("pod");
        Dial::to((address, 1234))
            .timeout(DIAL)
            .tcp(&from.netns)
            .expect("dialled")
    };

    assert_eq!(dial("allowed"), Outcome::Connected);
    let mut wire = Capture::start(&target.netns, "eth0").expect("capture");
    let seen = server.connections_seen();
    assert_eq!(dial("denied"), Outcome::TimedOut, "from another node");
    assert_eq!(dial("other"), Outcome::TimedOut, "from the same node");
    assert_eq!(wire.syns().expect("frames"), [], "a denied SYN arrived");
    assert_eq!(server.connections_seen(), seen);

    let allowed = wait_for_flow(&collector.server, &["--verdict", "forwarded"], |flow| {
        text(flow, "/source/pod_name") == "allowed" && text(flow, "/traffic_direction") == "INGRESS"
    });
    assert_eq!(
        text(&allowed, "/ingress_allowed_by/0/name"),
        "allow-to-target"
    );
    assert_eq!(text(&allowed, "/extensions/rule/policy/namespace"), "demo");
    for source in ["denied", "other"] {
        let denied = wait_for_flow(&collector.server, &["--verdict", "dropped"], |flow| {
            text(flow, "/source/pod_name") == source
        });
        assert_eq!(text(&denied, "/traffic_direction"), "INGRESS");
        assert_eq!(text(&denied, "/extensions/reason"), "default_deny");
        let isolating = denied
            .pointer("/extensions/isolated_by")
            .expect("policies")
            .to_string();
        assert!(
            isolating.contains("default-deny") && isolating.contains("allow-to-target"),
            "{isolating}"
        );
        assert!(
            text(&denied, "/extensions/nearest_miss").contains("app=allowed"),
            "{denied:#}"
        );
        assert_eq!(text(&denied, "/node_name"), "node-1");
    }
}

#[test]
fn kernel_ptp_ipv4() {
    dropped_and_named(Topology::Ptp, Family::V4);
}

#[test]
fn kernel_ptp_ipv6() {
    dropped_and_named(Topology::Ptp, Family::V6);
}

#[test]
fn kernel_bridge_ipv4() {
    dropped_and_named(Topology::Bridge, Family::V4);
}

#[test]
fn kernel_bridge_ipv6() {
    dropped_and_named(Topology::Bridge, Family::V6);
}

#[test]
fn kernel_sidecar_judges_its_own_pod() {
    if !is_root() {
        return;
    }
    let stage = Stage::new(&spec(Topology::Ptp), POLICIES);
    let target = stage.cluster.pod("demo", "target").expect("pod");
    let collector = stage.collector(
        "node-1",
        &target.netns,
        &["--sidecar=demo/target", "--interface=eth0"],
    );
    let server = TcpServer::start(&target.netns, 1234).expect("server");
    for family in [Family::V4, Family::V6] {
        let dial = |name: &str| {
            let from = stage.cluster.pod("demo", name).expect("pod");
            Dial::to((target.addresses.of(family), 1234))
                .timeout(DIAL)
                .tcp(&from.netns)
                .expect("dialled")
        };
        let seen = server.connections_seen();
        assert_eq!(dial("allowed"), Outcome::Connected);
        assert_eq!(dial("denied"), Outcome::TimedOut);
        assert_eq!(server.connections_seen(), seen + 1);
    }
    let denied = wait_for_flow(&collector.server, &["--verdict", "dropped"], |flow| {
        text(flow, "/source/pod_name") == "denied"
    });
    assert_eq!(text(&denied, "/destination/pod_name"), "target");
    assert_eq!(text(&denied, "/traffic_direction"), "INGRESS");
}
