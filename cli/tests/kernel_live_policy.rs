//! A policy change cuts the connections that it no longer allows and leaves the others flowing; a broken file changes nothing.

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::{DIAL, PATIENCE, POLICIES, Stage, eventually, is_root, pod, text, wait_for_flow};
use weir_testkit::{ClusterSpec, Dial, NodeSpec, Outcome, TcpServer, Topology};

const ALSO_OTHER: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: also-other, namespace: demo}
spec:
  podSelector: {matchLabels: {app: target}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: other}}}]
";

fn spec() -> ClusterSpec {
    ClusterSpec::new(Topology::Ptp).node(
        NodeSpec::new("node-1")
            .pod(pod("target"))
            .pod(pod("allowed"))
            .pod(pod("other")),
    )
}

#[test]
fn kernel_a_policy_change_cuts_what_it_no_longer_allows() {
    if !is_root() {
        return;
    }
    let stage = Stage::new(&spec(), POLICIES);
    stage
        .manifests
        .put("other.yaml", ALSO_OTHER)
        .expect("written");
    let collector = stage.collector(
        "node-1",
        &stage.cluster.node("node-1").expect("node").netns,
        &[],
    );
    let [target, allowed, other] =
        ["target", "allowed", "other"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let session = |from: &weir_testkit::Pod| {
        Dial::to((target.addresses.v4, 1234))
            .timeout(PATIENCE)
            .session(&from.netns)
            .expect("connected")
    };
    let (mut stays, mut cut) = (session(allowed), session(other));
    assert_eq!(stays.ping(PATIENCE).expect("pinged"), Outcome::Connected);
    assert_eq!(cut.ping(PATIENCE).expect("pinged"), Outcome::Connected);

    stage.manifests.remove("other.yaml").expect("removed");
    eventually("the connection is cut", || {
        cut.ping(Duration::from_millis(500)).expect("pinged") != Outcome::Connected
    });
    for _ in 0..10 {
        assert_eq!(
            stays.ping(PATIENCE).expect("pinged"),
            Outcome::Connected,
            "the other connection flows on"
        );
    }
    let record = wait_for_flow(&collector.server, &["--verdict", "dropped"], |flow| {
        text(flow, "/source/pod_name") == "other"
    });
    assert_eq!(text(&record, "/extensions/reason"), "default_deny");
}

#[test]
fn kernel_a_broken_manifest_changes_nothing_and_is_named() {
    if !is_root() {
        return;
    }
    let stage = Stage::new(&spec(), POLICIES);
    let mut collector = stage.collector(
        "node-1",
        &stage.cluster.node("node-1").expect("node").netns,
        &[],
    );
    let [target, allowed, other] =
        ["target", "allowed", "other"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let dial = |from: &weir_testkit::Pod| {
        Dial::to((target.addresses.v4, 1234))
            .timeout(DIAL)
            .tcp(&from.netns)
            .expect("dialled")
    };

    stage
        .manifests
        .put("broken.yaml", &ALSO_OTHER.replace("from:", "form:"))
        .expect("written");
    let line = collector
        .process
        .wait_for_line("broken.yaml", PATIENCE)
        .expect("named");
    assert!(
        line.contains("broken.yaml:8:7") && line.contains("spec.ingress[0].form"),
        "{line}"
    );
    sleep(Duration::from_millis(300));
    assert_eq!(dial(allowed), Outcome::Connected);
    assert_eq!(dial(other), Outcome::TimedOut);

    stage
        .manifests
        .put("broken.yaml", ALSO_OTHER)
        .expect("written");
    eventually("the repaired file takes effect", || {
        dial(other) == Outcome::Connected
    });
}
