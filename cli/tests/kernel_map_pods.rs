//! Which interface is which pod's, where no route tells: by the network namespace and cgroup of a process of the pod.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{DIAL, PATIENCE, POLICIES, Stage, eventually, is_root, pod, run};
use weir_testkit::{
    ClusterSpec, Dial, NodeSpec, Outcome, Pod, RunningProcess, TcpServer, Topology,
};

#[test]
fn kernel_a_pod_that_no_route_leads_to_alone_is_known_by_its_process() {
    if !is_root() {
        return;
    }
    let Some(root) = cgroup_root() else {
        eprintln!("skipped: there is no cgroup file system to write to");
        return;
    };
    let node = NodeSpec::new("node-1")
        .pod(pod("target"))
        .pod(pod("denied"));
    let stage = Stage::new(&ClusterSpec::new(Topology::Ptp).node(node), POLICIES);
    let netns = &stage.cluster.node("node-1").expect("node").netns;
    let [target, denied] =
        ["target", "denied"].map(|name| stage.cluster.pod("demo", name).expect("pod"));
    widen_routes(netns, target);
    let collector = stage.collector("node-1", netns, &["--map-pods-by=cgroup"]);
    let _server = TcpServer::start(&target.netns, 1234).expect("server");
    let dial = || {
        let dial = Dial::to((target.addresses.v4, 1234)).timeout(DIAL);
        dial.tcp(&denied.netns).expect("dialled")
    };
    assert_eq!(dial(), Outcome::Connected, "nobody's, and pending");

    let mut sleep = target.netns.command("sleep");
    sleep.arg("600");
    let sleep = RunningProcess::spawn(sleep, &stage.path("sleep.log")).expect("started");
    let _cgroup = Cgroup::new(&root, &target.uid, sleep.pid());
    eventually("its policies are in force", || dial() == Outcome::TimedOut);
    let status = run(&["status", "--pods", "--server", &collector.server]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let line = status.lines().find(|line| line.contains("demo/target"));
    assert!(
        line.is_some_and(|line| line.contains(&target.host_interface)),
        "{status}"
    );
    let mut sleep = sleep;
    sleep.terminate(PATIENCE).expect("ended");
}

/// The pod's addresses are reached by routes that others could share.
fn widen_routes(netns: &weir_testkit::NetNs, pod: &Pod) {
    let (v4, v6, interface) = (pod.addresses.v4, pod.addresses.v6, &pod.host_interface);
    let even = std::net::Ipv4Addr::from_bits(v4.to_bits() & !1);
    let even6 = std::net::Ipv6Addr::from_bits(v6.to_bits() & !1);
    netns
        .ip(&[
            format!("route del {v4}/32 dev {interface}"),
            format!("route del {v6}/128 dev {interface}"),
            format!("route add {even}/31 dev {interface}"),
            format!("route add {even6}/127 dev {interface}"),
        ])
        .expect("routes");
}

/// Where cgroups are made: a mount of the second version, or systemd's own of the first.
fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut mounts = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let root = mounts.find_map(|mount| match mount[..] {
        [_, place, "cgroup2", ..] => Some(PathBuf::from(place)),
        [_, place, "cgroup", options, ..] if options.contains("name=systemd") => Some(place.into()),
        _ => None,
    })?;
    let probe = root.join(format!("weir-probe-{}", std::process::id()));
    fs::create_dir(&probe).ok()?;
    fs::remove_dir(&probe).ok()?;
    Some(root)
}

/// A pod's cgroup as the kubelet makes it, with one process in it.
struct Cgroup {
    pod: PathBuf,
    parent: PathBuf,
    root: PathBuf,
    process: u32,
}

impl Cgroup {
    fn new(root: &Path, uid: &str, process: u32) -> Self {
        let parent = root.join(format!("weir-{}-kubepods", std::process::id()));
        let pod = parent.join(format!("pod{uid}"));
        fs::create_dir_all(&pod).expect("a cgroup");
        fs::write(pod.join("cgroup.procs"), process.to_string()).expect("moved");
        Self {
            pod,
            parent,
            root: root.to_owned(),
            process,
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The process may have ended; an empty cgroup is removed like a directory.
        fs::write(self.root.join("cgroup.procs"), self.process.to_string()).ok();
        fs::remove_dir(&self.pod).ok();
        fs::remove_dir(&self.parent).ok();
    }
}
