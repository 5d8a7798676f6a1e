//! What a running collector could still do to its machine, and that later pods are enforced all the same.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use caps::Capability::{self, CAP_BPF, CAP_DAC_OVERRIDE, CAP_NET_ADMIN};
use common::{DIAL, POLICIES, Stage, eventually, is_root, pod, run};
use weir_testkit::{ClusterSpec, Dial, NodeSpec, Outcome, TcpServer, Topology};

#[test]
fn kernel_after_the_start_only_what_later_pods_need_is_kept() {
    if !is_root() {
        return;
    }
    let node = NodeSpec::new("node-1")
        .pod(pod("allowed"))
        .pod(pod("denied"));
    let mut stage = Stage::new(&ClusterSpec::new(Topology::Ptp).node(node), POLICIES);
    let netns = stage.cluster.node("node-1").expect("node").netns.clone();
    let collector = stage.collector("node-1", &netns, &[]);

    for thread in threads(collector.process.pid()) {
        let kept: &[Capability] = match &*thread.name {
            "weir" | "endpoints" | "pipeline" => &[CAP_BPF, CAP_NET_ADMIN, CAP_DAC_OVERRIDE],
            _ => &[CAP_DAC_OVERRIDE],
        };
        let kept: u64 = kept.iter().map(|capability| capability.bitmask()).sum();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(thread.set(set), kept, "{set} of {}", thread.name);
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(thread.set(set), 0, "{set} of {}", thread.name);
        }
    }

    stage
        .cluster
        .add_pods("node-1", &[pod("target")])
        .expect("a later pod");
    stage
        .manifests
        .put("cluster.yaml", &stage.cluster.manifests())
        .expect("written");
    let target = stage.cluster.pod("demo", "target").expect("pod");
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let dial = |name: &str| {
        let from = stage.cluster.pod("demo", name).expect("pod");
        let dial = Dial::to((target.addresses.v4, 1234)).timeout(DIAL);
        dial.tcp(&from.netns).expect("dialled")
    };
    eventually("the later pod is enforced", || {
        dial("denied") == Outcome::TimedOut
    });
    assert_eq!(dial("allowed"), Outcome::Connected);
}

#[test]
fn kernel_directories_of_somebody_else_are_used() {
    const NOBODY: u32 = 65_534;
    if !is_root() {
        return;
    }
    let node = NodeSpec::new("node-1").pod(pod("target"));
    let stage = Stage::new(&ClusterSpec::new(Topology::Ptp).node(node), POLICIES);
    let state = stage.path("node-1-state");
    fs::create_dir(&state).expect("made");
    for directory in [state.as_path(), stage.manifests.path()] {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("given away");
        fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("closed");
    }
    let netns = &stage.cluster.node("node-1").expect("node").netns;
    let unreachable = "--aggregator=http://127.0.0.1:1";
    let collector = stage.collector("node-1", netns, &[unreachable]);
    stage.manifests.put("policies.yaml", "").expect("written");
    eventually("the manifests are read again", || {
        let status = run(&["status", "--server", &collector.server]);
        String::from_utf8_lossy(&status.stdout).contains(" 0 policies")
    });
}

/// A thread of a process.
struct Thread {
    name: String,
    status: String,
}

impl Thread {
    fn set(&self, field: &str) -> u64 {
        let prefix = format!("{field}:");
        let line = self
            .status
            .lines()
            .find_map(|line| line.strip_prefix(&prefix));
        u64::from_str_radix(line.expect(field).trim(), 16).expect("a set of capabilities")
    }
}

fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let thread = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let name = status.lines().find_map(|line| line.strip_prefix("Name:"))?;
        Some(Thread {
            name: name.trim().to_owned(),
            status: status.clone(),
        })
    };
    tasks.flatten().filter_map(thread).collect()
}
