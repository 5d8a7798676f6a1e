//! SIGKILL of the collector leaves enforcement on; the next start adopts it, counts go on, names still resolve.

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::{
    DIAL, PATIENCE, POLICIES, Stage, eventually, is_root, number, observe, pod, text, wait_for_flow,
};
use serde_json::Value;
use weir_testkit::{ClusterSpec, Dial, NodeSpec, Outcome, TcpServer, Topology};

fn spec() -> ClusterSpec {
    ClusterSpec::new(Topology::Ptp).node(
        NodeSpec::new("node-1")
            .pod(pod("target"))
            .pod(pod("allowed"))
            .pod(pod("denied")),
    )
}

fn is_ingress_from(flow: &Value, source: &str) -> bool {
    text(flow, "/traffic_direction") == "INGRESS" && text(flow, "/source/pod_name") == source
}

#[test]
fn kernel_sigkill_leaves_enforcement_on_and_the_next_start_goes_on_counting() {
    if !is_root() {
        return;
    }
    let stage = Stage::new(&spec(), POLICIES);
    let mut collector = stage.collector(
        "node-1",
        &stage.cluster.node("node-1").expect("node").netns,
        &[],
    );
    let [target, allowed, denied] =
        ["target", "allowed", "denied"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let server = TcpServer::start(&target.netns, 1234).expect("server");
    let to_target = || Dial::to((target.addresses.v4, 1234)).timeout(DIAL);
    let mut session = to_target().session(&allowed.netns).expect("connected");
    assert_eq!(session.ping(PATIENCE).expect("pinged"), Outcome::Connected);
    let before = wait_for_flow(&collector.server, &[], |flow| {
        is_ingress_from(flow, "allowed")
    });
    let serial = text(&before, "/extensions/id/serial").to_owned();
    assert!(!serial.is_empty(), "{before:#}");

    collector.process.kill().expect("killed");
    for _ in 0..20 {
        assert_eq!(
            session.ping(PATIENCE).expect("pinged"),
            Outcome::Connected,
            "an established connection lives on"
        );
    }
    let seen = server.connections_seen();
    assert_eq!(
        to_target().tcp(&denied.netns).expect("dialled"),
        Outcome::TimedOut,
        "without a collector"
    );
    assert_eq!(server.connections_seen(), seen);

    collector.restart();
    assert_eq!(
        to_target().tcp(&denied.netns).expect("dialled"),
        Outcome::TimedOut,
        "with the next collector"
    );
    assert_eq!(
        session.ping(PATIENCE).expect("pinged"),
        Outcome::Connected,
        "an adopted connection lives on"
    );
    let after = wait_for_flow(&collector.server, &[], |flow| {
        text(flow, "/extensions/id/serial") == serial
            && number(flow, "/extensions/ingress/packets") >= 20
    });
    assert_eq!(
        text(&after, "/ingress_allowed_by/0/name"),
        "allow-to-target",
        "{after:#}"
    );
    let denial = wait_for_flow(&collector.server, &["--verdict", "dropped"], |flow| {
        is_ingress_from(flow, "denied")
    });
    assert!(
        denial
            .pointer("/extensions/isolated_by")
            .expect("policies")
            .to_string()
            .contains("default-deny")
    );
}

#[test]
fn kernel_no_packet_passes_unjudged_through_many_restarts() {
    if !is_root() {
        return;
    }
    let stage = Stage::new(&spec(), POLICIES);
    let mut collector = stage.collector(
        "node-1",
        &stage.cluster.node("node-1").expect("node").netns,
        &[],
    );
    let [target, denied] =
        ["target", "denied"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let server = TcpServer::start(&target.netns, 1234).expect("server");
    let (address, netns) = ((target.addresses.v4, 1234), denied.netns.clone());
    let dialler = std::thread::spawn(move || {
        let mut outcomes = Vec::new();
        for _ in 0..40 {
            outcomes.push(
                Dial::to(address)
                    .timeout(Duration::from_millis(100))
                    .tcp(&netns)
                    .expect("dialled"),
            );
        }
        outcomes
    });
    for _ in 0..3 {
        sleep(Duration::from_millis(300));
        collector.restart();
    }
    let outcomes = dialler.join().expect("dialler");
    assert!(
        outcomes.iter().all(|outcome| *outcome == Outcome::TimedOut),
        "{outcomes:?}"
    );
    assert_eq!(server.connections_seen(), 0);
    // Each attempt is one SYN; retransmissions may add to them. All are in the denial's count, over all runs.
    eventually("every refused SYN is counted", || {
        let counts = observe(&collector.server, &["--verdict", "dropped"]);
        counts
            .iter()
            .map(|flow| number(flow, "/extensions/ingress_dropped/packets"))
            .max()
            .unwrap_or(0)
            >= 40
    });
}
