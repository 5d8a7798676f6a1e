//! What tests against the real kernel share: throw-away network namespaces and pin roots.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, unshare};
use weir_collector::kernel::{Kernel, KernelError, Limits, Options, PinRoot};

/// Says why a test does nothing, and whether it has to.
pub fn skipped() -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to load eBPF programs");
        return true;
    }
    if let Err(error @ KernelError::Object(_)) = Kernel::private(&options()).map(drop) {
        eprintln!("skipped: {error}");
        return true;
    }
    false
}

/// Small tables.
pub fn options() -> Options {
    Options {
        limits: Limits::small(),
        ..Options::default()
    }
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "weir-t{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs a command in this thread's network namespace.
pub fn run(command: &str) {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().unwrap())
        .args(words)
        .status()
        .unwrap();
    assert!(status.success(), "{command}: {status}");
}

/// Runs a command that may fail.
pub fn try_run(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    output.status.success()
}

/// A node: this thread moves into a network namespace of its own. Ends with the thread.
pub fn enter_node() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    run("ip link set lo up");
}

/// A pod's network namespace.
pub struct PodNs {
    pub name: String,
}

impl PodNs {
    pub fn new() -> Self {
        let name = unique();
        run(&format!("ip netns add {name}"));
        let ns = Self { name };
        ns.run("ip link set lo up");
        ns
    }

    /// Runs a command inside.
    pub fn run(&self, command: &str) {
        run(&format!("nsenter --net=/run/netns/{} {command}", self.name));
    }

    /// Runs a command inside that may fail.
    pub fn try_run(&self, command: &str) -> bool {
        try_run(&format!("nsenter --net=/run/netns/{} {command}", self.name))
    }

    /// Runs a closure on a thread inside.
    pub fn spawn_inside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::spawn(move || {
            nix::sched::setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        })
    }

    /// Runs a closure inside and waits for it.
    pub fn inside<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn_inside(body).join().unwrap()
    }

    /// A pod behind a route of its own, as the ptp plugin makes it.
    pub fn ptp(host_end: &str, address: &str) -> Self {
        let ns = Self::new();
        run(&format!(
            "ip link add {host_end} type veth peer name eth0 netns {}",
            ns.name
        ));
        run(&format!("ip link set {host_end} up"));
        ns.run("ip link set eth0 up");
        ns.run(&format!("ip addr add {address}/32 dev eth0"));
        ns.run("ip route add 169.254.1.1 dev eth0");
        ns.run("ip route add default via 169.254.1.1");
        run(&format!("ip addr add 169.254.1.1/32 dev {host_end}"));
        run(&format!("ip route add {address}/32 dev {host_end}"));
        ns
    }

    /// A pod on a bridge.
    pub fn bridged(bridge: &str, host_end: &str, address: &str, gateway: &str) -> Self {
        let ns = Self::new();
        run(&format!(
            "ip link add {host_end} type veth peer name eth0 netns {}",
            ns.name
        ));
        run(&format!("ip link set {host_end} master {bridge} up"));
        ns.run("ip link set eth0 up");
        ns.run(&format!("ip addr add {address}/24 dev eth0"));
        ns.run(&format!("ip route add default via {gateway}"));
        ns
    }
}

impl Drop for PodNs {
    fn drop(&mut self) {
        try_run(&format!("ip netns del {}", self.name));
    }
}

/// A pin root that is removed at the end, whatever the test did.
pub struct TestRoot(pub PinRoot);

impl TestRoot {
    pub fn new() -> Self {
        Self(PinRoot::new(PathBuf::from("/sys/fs/bpf").join(unique())))
    }
}

impl Drop for TestRoot {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(self.0.path());
    }
}

/// Whether something comes true within a generous time.
pub fn eventually(mut is_true: impl FnMut() -> bool) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        if is_true() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

pub fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}
