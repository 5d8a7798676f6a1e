//! What a cluster leaves behind: nothing, however its owner ends.

#![expect(clippy::unwrap_used, reason = "what tests share is test code too")]

mod common;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use weir_testkit::{Cluster, ClusterSpec, RunningProcess, Teardown, Topology};

const PATIENCE: Duration = Duration::from_secs(20);
const LEFT: &str = "the owner has made ";

fn spec() -> ClusterSpec {
    ClusterSpec::uniform(Topology::Bridge, 2, 2)
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn namespaces_of(id: &str) -> usize {
    output("ip", &["netns", "list"])
        .lines()
        .filter(|line| line.starts_with(&format!("weir-{id}-")))
        .count()
}

fn pins_of(id: &str) -> bool {
    Path::new(&format!("/sys/fs/bpf/weir-{id}")).exists()
}

fn marker_of(id: &str) -> bool {
    Path::new(&format!("/run/weir-testkit/{id}")).exists()
}

fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

fn assert_nothing_left(id: &str) {
    assert_eq!(namespaces_of(id), 0);
    assert!(!pins_of(id));
    assert!(!marker_of(id));
}

/// A cluster with all that can be left behind: a process in a pod that ignores being asked, and a pin directory with content.
fn furnished() -> Option<(Cluster, RunningProcess, tempfile::TempDir)> {
    let cluster = common::cluster(&spec())?;
    let dir = tempfile::tempdir().unwrap();
    let mut command = cluster
        .pod("default", "pod-1-1")
        .unwrap()
        .netns
        .command("sh");
    command.args([
        "-c",
        "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done",
    ]);
    let mut process = RunningProcess::spawn(command, &dir.path().join("log")).unwrap();
    process.wait_for_line("ready", PATIENCE).unwrap();
    for node in cluster.nodes() {
        std::fs::create_dir(node.pin_root().unwrap().join("v1")).unwrap();
    }
    Some((cluster, process, dir))
}

#[test]
fn dropping_a_cluster_leaves_nothing() {
    let links = || output("ip", &["-o", "link"]);
    let before = links();
    let Some((cluster, process, _dir)) = furnished() else {
        return;
    };
    let id = cluster.id();
    assert_eq!(namespaces_of(&id), 2 + 2 * 2 + 2);
    assert!(pins_of(&id) && marker_of(&id));
    assert_eq!(
        links(),
        before,
        "a cluster adds no link to the machine's own namespace"
    );
    drop(cluster);
    assert_nothing_left(&id);
    assert!(!alive(process.pid()));
    assert_eq!(links(), before);
}

#[test]
fn a_teardown_handle_removes_a_cluster_that_is_still_held_and_may_be_used_twice() {
    let Some((cluster, _process, _dir)) = furnished() else {
        return;
    };
    let teardown: Teardown = cluster.teardown();
    std::thread::spawn(move || {
        teardown.run().unwrap();
        teardown.run().unwrap();
    })
    .join()
    .unwrap();
    assert_nothing_left(&cluster.id());
    cluster.remove().unwrap();
}

#[test]
fn a_cluster_that_fails_half_way_is_removed() {
    let Some(mut cluster) = common::cluster(&spec()) else {
        return;
    };
    let id = cluster.id();
    let error = cluster
        .add_pods("none", &[weir_testkit::PodSpec::new("default", "new")])
        .unwrap_err();
    assert_eq!(error.to_string(), "the cluster has no node none");
    let node = cluster.node("node-1").unwrap();
    let error = node
        .netns
        .ip(&["link set lo up", "link set nonsense up", "link set lo down"])
        .unwrap_err();
    assert!(
        error.to_string().contains("link set nonsense up"),
        "{error}"
    );
    drop(cluster);
    assert_nothing_left(&id);
}

#[test]
fn a_living_cluster_survives_a_sweep() {
    let Some((cluster, process, _dir)) = furnished() else {
        return;
    };
    Cluster::sweep_stale().unwrap();
    assert_eq!(namespaces_of(&cluster.id()), 8);
    assert!(pins_of(&cluster.id()));
    assert!(alive(process.pid()));
}

#[test]
fn what_a_killed_owner_left_is_swept() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "the_owner_that_is_killed",
        "--nocapture",
    ]);
    let mut owner = RunningProcess::spawn(command, &dir.path().join("owner.log")).unwrap();
    let line = owner.wait_for_line(LEFT, PATIENCE).unwrap();
    let (_, made) = line.split_once(LEFT).unwrap();
    let (id, pid) = made.split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert_eq!(namespaces_of(id), 8);
    owner.kill().unwrap();
    // Tests that run beside this one may sweep first, but only from now on.
    Cluster::sweep_stale().unwrap();
    assert_nothing_left(id);
    assert!(!alive(pid), "the process in the pod outlived the sweep");
}

#[test]
#[ignore = "not a test: the process that `what_a_killed_owner_left_is_swept` starts and kills"]
fn the_owner_that_is_killed() {
    let (cluster, process, _dir) = furnished().unwrap();
    println!("{LEFT}{} {}", cluster.id(), process.pid());
    std::thread::sleep(PATIENCE * 3);
}

#[test]
fn clusters_stand_side_by_side() {
    let Some(first) = common::cluster(&spec()) else {
        return;
    };
    let Some(second) = common::cluster(&spec()) else {
        return;
    };
    assert_ne!(first.id(), second.id());
    drop(first);
    assert_eq!(namespaces_of(&second.id()), 8);
}

#[test]
fn two_nodes_and_eight_pods_come_and_go_at_once() {
    let begin = Instant::now();
    let Some(cluster) = common::cluster(&ClusterSpec::uniform(Topology::Ptp, 2, 4)) else {
        return;
    };
    let made = begin.elapsed();
    let begin = Instant::now();
    cluster.remove().unwrap();
    println!("made in {made:?}, removed in {:?}", begin.elapsed());
    // A generous bound on what takes a tenth of a second, to notice a wait that has slipped in (such as proxy_delay).
    assert!(made < PATIENCE);
}
