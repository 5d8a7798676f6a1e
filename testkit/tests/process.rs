//! Programs beside the test, and the manifests they read.

mod common;

use std::{os::unix::process::ExitStatusExt, time::Duration};

use weir_testkit::{
    ClusterSpec, Error, NetNs, NodeSpec, PodSpec, Protocol, RunningProcess, ServiceSpec, Topology,
};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_process_runs_in_its_namespace_under_its_own_id_and_sees_bpffs() {
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 1, 0)) else {
        return;
    };
    let node = cluster.node("node-1").unwrap();
    let pins = node.pin_root().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = node.netns.command("sh");
    command.args([
        "-c",
        &format!(
            "ls -d {} && readlink /proc/self/ns/net && echo pid $$ && sleep 60",
            pins.display()
        ),
    ]);
    let mut process = RunningProcess::spawn(command, &dir.path().join("log")).unwrap();
    let pid = process.wait_for_line("pid", PATIENCE).unwrap();
    assert_eq!(pid, format!("pid {}", process.pid()));
    let output = process.output().unwrap();
    let inside = node
        .netns
        .run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap())
        .unwrap();
    assert!(output.contains(&*inside.to_string_lossy()), "{output}");
    assert_ne!(
        inside,
        std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
        "the caller's thread stays outside"
    );
    assert_eq!(process.terminate(PATIENCE).unwrap().signal(), Some(15));
}

#[test]
fn waiting_for_a_line_of_a_process_that_ends_shows_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo the port is taken >&2; exit 3"]);
    let mut process = RunningProcess::spawn(command, &dir.path().join("log")).unwrap();
    let error = process.wait_for_line("serving", PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::EndedEarly { status, .. } if status.code() == Some(3)));
    assert!(error.to_string().contains("the port is taken"), "{error}");
}

#[test]
fn a_process_that_ignores_the_request_to_end_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    let mut process = RunningProcess::spawn(command, &dir.path().join("log")).unwrap();
    process.wait_for_line("ready", PATIENCE).unwrap();
    let error = process
        .wait_for_line("never", Duration::from_millis(50))
        .unwrap_err();
    assert!(
        error.to_string().ends_with("its last lines:\nready"),
        "{error}"
    );
    assert_eq!(
        process
            .terminate(Duration::from_millis(100))
            .unwrap()
            .signal(),
        Some(9)
    );
}

#[test]
fn a_namespace_that_does_not_exist_is_named() {
    let error = NetNs::named("weir-none").run(|| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open /run/netns/weir-none: No such file or directory (os error 2)"
    );
}

#[test]
fn manifests_show_what_the_cluster_is() {
    let spec = ClusterSpec::new(Topology::Ptp)
        .node(
            NodeSpec::new("a").pod(
                PodSpec::new("shop", "web")
                    .label("app.kubernetes.io/name", "web")
                    .label("on", "true")
                    .port("http", Protocol::Tcp, 8080)
                    .owner("ReplicaSet", "web-5d4f8"),
            ),
        )
        .namespace_label("shop", "team", "blue")
        .service(ServiceSpec::new("shop", "web").select("on", "true").port(
            "http",
            Protocol::Tcp,
            80,
            8080,
        ));
    let Some(cluster) = common::cluster(&spec) else {
        return;
    };
    let uid = &cluster.pod("shop", "web").unwrap().uid;
    let expected = include_str!("manifests.yaml").replace("UID", uid);
    assert_eq!(cluster.manifests(), expected);
}
