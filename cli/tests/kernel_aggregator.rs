//! Records of two nodes in one aggregator: asked over Hubble's API, kept in Parquet files, through a SIGKILL.

mod common;

use std::fs::File;

use common::{
    DIAL, PATIENCE, POLICIES, Stage, eventually, files_with, is_root, observe, pod, run, text,
    wait_for_flow, weir,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_testkit::{ClusterSpec, Dial, NodeSpec, Outcome, RunningProcess, TcpServer, Topology};

fn aggregator(stage: &Stage) -> (RunningProcess, String) {
    let hub = stage.cluster.fabric();
    let socket = stage.path("aggregator.sock");
    let mut command = hub.netns.command(weir());
    command.args([
        "aggregator".to_owned(),
        format!("--data-dir={}", stage.path("data").display()),
        format!("--listen={}:4245", hub.addresses.v4),
        format!("--unix-socket={}", socket.display()),
        "--seal-interval=2s".to_owned(),
    ]);
    let mut process =
        RunningProcess::spawn(command, &stage.path("aggregator.log")).expect("started");
    process.wait_for_line("ready", PATIENCE).expect("ready");
    (process, format!("unix://{}", socket.display()))
}

/// All values of a text column over all Parquet files, read with nothing but the parquet crate.
fn column(stage: &Stage, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for path in files_with(&stage.path("data"), "parquet") {
        let file = File::open(&path).expect("readable");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .expect("Parquet")
            .build()
            .expect("reader");
        for batch in reader {
            let batch = batch.expect("batch");
            let column = batch
                .column_by_name(name)
                .unwrap_or_else(|| panic!("no column {name} in {:?}", batch.schema()));
            let text = arrow_cast::cast(column, &arrow_schema::DataType::Utf8).expect("text");
            let text = text
                .as_any()
                .downcast_ref::<arrow_array::StringArray>()
                .expect("text");
            values.extend(
                text.iter()
                    .map(|value| value.unwrap_or_default().to_owned()),
            );
        }
    }
    values
}

#[test]
fn kernel_records_of_all_nodes_are_kept_and_survive_a_sigkill() {
    if !is_root() {
        return;
    }
    let spec = ClusterSpec::new(Topology::Ptp)
        .node(NodeSpec::new("node-1").pod(pod("target")))
        .node(
            NodeSpec::new("node-2")
                .pod(pod("allowed"))
                .pod(pod("denied")),
        );
    let stage = Stage::new(&spec, POLICIES);
    let (mut first, server) = aggregator(&stage);
    let uplink = format!(
        "--aggregator=http://{}:4245",
        stage.cluster.fabric().addresses.v4
    );
    let collectors: Vec<_> = ["node-1", "node-2"]
        .iter()
        .map(|name| {
            stage.collector(
                name,
                &stage.cluster.node(name).expect("node").netns,
                &[&uplink],
            )
        })
        .collect();
    let [target, allowed, denied] =
        ["target", "allowed", "denied"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let dial = |from: &weir_testkit::Pod| {
        Dial::to((target.addresses.v4, 1234))
            .timeout(DIAL)
            .tcp(&from.netns)
            .expect("dialled")
    };
    assert_eq!(dial(allowed), Outcome::Connected);
    assert_eq!(dial(denied), Outcome::TimedOut);

    let denial = wait_for_flow(&server, &["--verdict", "dropped"], |flow| {
        text(flow, "/source/pod_name") == "denied"
    });
    assert_eq!(text(&denial, "/node_name"), "node-1");
    wait_for_flow(&server, &[], |flow| {
        text(flow, "/node_name") == "node-2" && text(flow, "/traffic_direction") == "EGRESS"
    });

    explains_by_asking_a_collector(&server);

    first.kill().expect("killed");
    assert_eq!(
        dial(denied),
        Outcome::TimedOut,
        "the collectors go on without their aggregator"
    );
    let (mut second, server) = aggregator(&stage);
    wait_for_flow(&server, &["--verdict", "dropped"], |flow| {
        text(flow, "/source/pod_name") == "denied"
    });
    eventually("both verdicts are in Parquet files", || {
        let (verdicts, policies) = (column(&stage, "verdict"), column(&stage, "policy_name"));
        verdicts
            .iter()
            .any(|verdict| verdict.eq_ignore_ascii_case("dropped"))
            && policies.iter().any(|policy| policy == "allow-to-target")
    });
    let uuids: Vec<String> = observe(&server, &[])
        .iter()
        .map(|flow| text(flow, "/uuid").to_owned())
        .collect();
    let unique: std::collections::HashSet<&String> = uuids.iter().collect();
    assert_eq!(unique.len(), uuids.len(), "no record is there twice");
    drop(collectors);
    second.terminate(PATIENCE).expect("stopped");
}

/// The policies are with the collectors, and the aggregator asks one of them.
fn explains_by_asking_a_collector(server: &str) {
    let explained = |more: &[&str]| {
        let mut args = vec!["explain", "--server", server, "--to", "demo/target"];
        args.extend(more);
        let output = run(&args);
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text)
    };
    let connection = ["--from", "demo/denied", "--port", "1234"];
    eventually("a collector answers by way of the aggregator", || {
        explained(&connection).0 == Some(1)
    });
    let (_, why) = explained(&connection);
    assert!(why.contains("label app=allowed is missing"), "{why}");
    let (code, who) = explained(&[]);
    assert_eq!(code, Some(0), "{who}");
    assert!(who.contains("from pods with app=allowed"), "{who}");
}
