//! A real collector and a real aggregator over mTLS, and a collector that is itself asked over it.

mod common;

use std::path::Path;

use common::{DIAL, PATIENCE, POLICIES, Stage, certs, is_root, pod, text, wait_for_flow, weir};
use weir_testkit::{
    ClusterSpec, Dial, NetNs, NodeSpec, Outcome, RunningProcess, TcpServer, Topology,
};

/// What `weir status` says of a server that is asked with the client's certificate.
fn status(netns: &NetNs, certificates: &Path, more: &[&str]) -> String {
    let mut command = netns.command(weir());
    command
        .arg("status")
        .args(certs::client(certificates))
        .args(more);
    let output = command.output().expect("weir runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn kernel_records_reach_the_aggregator_over_mtls() {
    if !is_root() {
        return;
    }
    let node = NodeSpec::new("node-1")
        .pod(pod("target"))
        .pod(pod("denied"));
    let stage = Stage::new(&ClusterSpec::new(Topology::Ptp).node(node), POLICIES);
    let hub = stage.cluster.fabric();
    let (address, certificates) = (hub.addresses.v4.to_string(), stage.path("certs"));
    certs::make(&certificates, &["--server-name", &address]);

    let socket = stage.path("aggregator.sock");
    let mut command = hub.netns.command(weir());
    command
        .arg("aggregator")
        .arg(format!("--data-dir={}", stage.path("data").display()))
        .arg(format!("--listen={address}:4245"))
        .arg(format!("--unix-socket={}", socket.display()))
        .args(certs::listener(&certificates.join("aggregator")));
    let log = stage.path("aggregator.log");
    let mut aggregator = RunningProcess::spawn(command, &log).expect("started");
    aggregator.wait_for_line("ready", PATIENCE).expect("ready");

    let own = certificates.join("collector");
    let uplink = [
        ("aggregator-ca", "ca.crt"),
        ("aggregator-cert", "tls.crt"),
        ("aggregator-key", "tls.key"),
    ];
    let mut more = vec![format!("--aggregator=https://{address}:4245")];
    more.extend(certs::files(&own, uplink));
    more.extend(certs::listener(&own));
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let netns = stage.cluster.node("node-1").expect("node").netns.clone();
    let _collector = stage.collector("node-1", &netns, &more);

    let [target, denied] =
        ["target", "denied"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let dial = Dial::to((target.addresses.v4, 1234)).timeout(DIAL);
    assert_eq!(dial.tcp(&denied.netns).expect("dialled"), Outcome::TimedOut);
    let server = format!("unix://{}", socket.display());
    wait_for_flow(&server, &["--verdict", "dropped"], |flow| {
        text(flow, "/source/pod_name") == "denied"
    });

    let server = format!("--server=tls://{address}:4245");
    let said = status(&hub.netns, &certificates, &[&server]);
    assert!(said.contains("node-1 connected"), "{said}");
    let named = [
        "--server=tls://127.0.0.1:4244",
        "--tls-server-name=weir-collector",
    ];
    let said = status(&netns, &certificates, &named);
    assert!(
        said.contains("https://") && said.contains(", connected"),
        "{said}"
    );
    aggregator.terminate(PATIENCE).expect("stopped");
}
