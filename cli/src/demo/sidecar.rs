//! One collector inside one pod's network namespace: the same denial, without a node agent.

use std::time::Duration;

use anyhow::ensure;
use weir_testkit::{Cluster, ClusterSpec, Dial, NodeSpec, Outcome, PodSpec, TcpServer, Topology};

use super::{print, stage::Stage};

const POLICIES: [(&str, &str); 1] = [("demo-policies.yaml", include_str!("manifests/demo.yaml"))];

/// One node with three pods.
pub(super) fn cluster() -> ClusterSpec {
    let pod = |name: &str| PodSpec::new("demo", name).label("app", name);
    ClusterSpec::new(Topology::Ptp).node(
        NodeSpec::new("node-1")
            .pod(pod("target"))
            .pod(pod("allowed"))
            .pod(pod("denied")),
    )
}

/// Plays it.
///
/// # Errors
/// A part that does not start, or a step that does not go as it must.
pub(super) fn play(cluster: Cluster, stay: bool) -> anyhow::Result<()> {
    print::chapter("one collector in the pod demo/target: manifests mounted, programs on eth0");
    let mut stage = Stage::new(&cluster, &POLICIES)?;
    let target = cluster.pod("demo", "target")?;
    let mut args = stage.collector_args("node-1", &cluster.node("node-1")?.pin_root()?)?;
    args.extend([
        "--sidecar=demo/target".to_owned(),
        "--interface=eth0".to_owned(),
    ]);
    stage.start(&target.netns, "node-1", &args)?;
    let server = TcpServer::start(&target.netns, 1234)?;

    print::chapter("live");
    let socket = stage.server("node-1");
    stage.follow(&socket)?;
    let dial = |name: &str| -> anyhow::Result<Outcome> {
        let from = cluster.pod("demo", name)?;
        Ok(Dial::to((target.addresses.v4, 1234))
            .timeout(Duration::from_millis(1500))
            .tcp(&from.netns)?)
    };
    ensure!(
        dial("allowed")? == Outcome::Connected,
        "demo/allowed could not reach demo/target:1234"
    );
    ensure!(
        dial("denied")? == Outcome::TimedOut,
        "demo/denied was not denied"
    );
    ensure!(
        server.connections_seen() == 1,
        "the target saw {} connections instead of 1",
        server.connections_seen()
    );
    std::thread::sleep(Duration::from_millis(500));
    stage.unfollow();
    print::fact(
        "demo/allowed connected, demo/denied was dropped before the pod's own network stack",
    );

    print::chapter("why was it denied?");
    let text = stage.show(&[
        "explain",
        "--server",
        &socket,
        "--from",
        "demo/denied",
        "--to",
        "demo/target",
        "--port",
        "1234",
    ])?;
    ensure!(
        text.contains("default-deny") && text.contains("app=allowed"),
        "the explanation names neither the policies nor the label"
    );
    if stay {
        print::chapter("up until Ctrl-C; in another terminal:");
        print::weir(&format!("observe --server {socket} --follow"));
        loop {
            std::thread::park();
        }
    }
    stage.stop()
}
