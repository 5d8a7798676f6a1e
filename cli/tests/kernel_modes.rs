//! A namespace's annotation says what is done with denied traffic there, and a change of it holds for living connections.

mod common;

use std::time::Duration;

use common::{DIAL, PATIENCE, POLICIES, Stage, eventually, is_root, pod, text, wait_for_flow};
use weir_testkit::{ClusterSpec, Dial, NodeSpec, Outcome, TcpServer, Topology};

#[test]
fn kernel_a_namespace_may_be_audited_observed_and_enforced() {
    if !is_root() {
        return;
    }
    let node = NodeSpec::new("node-1")
        .pod(pod("target"))
        .pod(pod("denied"));
    let stage = Stage::new(
        &ClusterSpec::new(Topology::Ptp).node(node),
        &(POLICIES.to_owned() + &namespace("audit")),
    );
    let netns = &stage.cluster.node("node-1").expect("node").netns;
    let collector = stage.collector("node-1", netns, &[]);
    let [target, denied] =
        ["target", "denied"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let dial = Dial::to((target.addresses.v4, 1234)).timeout(DIAL);

    let mut audited = dial.session(&denied.netns).expect("audited, not dropped");
    assert_eq!(audited.ping(PATIENCE).expect("pinged"), Outcome::Connected);
    let record = wait_for_flow(&collector.server, &["--verdict", "audit"], |flow| {
        text(flow, "/source/pod_name") == "denied"
    });
    assert_eq!(text(&record, "/extensions/reason"), "default_deny");
    assert_eq!(text(&record, "/extensions/mode"), "audit");

    let modes = |mode: &str| {
        let policies = POLICIES.to_owned() + &namespace(mode);
        stage
            .manifests
            .put("policies.yaml", &policies)
            .expect("written");
    };
    modes("enforce");
    eventually("the audited connection is cut", || {
        audited.ping(Duration::from_millis(300)).expect("pinged") != Outcome::Connected
    });
    assert_eq!(dial.tcp(&denied.netns).expect("dialled"), Outcome::TimedOut);

    modes("observe");
    eventually("nothing is judged", || {
        dial.tcp(&denied.netns).expect("dialled") == Outcome::Connected
    });
    wait_for_flow(&collector.server, &["--verdict", "forwarded"], |flow| {
        text(flow, "/extensions/reason") == "observed"
            && text(flow, "/extensions/mode") == "observe"
    });
}

fn namespace(mode: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: demo, annotations: {{weir.dev/mode: {mode}}}}}\n"
    )
}
