//! The real binary in a cluster of namespaces.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod certs;
pub(crate) mod exact;
pub(crate) mod lake;
pub(crate) mod sidecar;
pub(crate) mod starts;
pub(crate) mod traffic;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_testkit::{Cluster, ClusterSpec, ManifestDir, NetNs, PodSpec, RunningProcess};

/// For what happens a moment later. Generous: tests run on busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a denied connection attempt is given.
pub(crate) const DIAL: Duration = Duration::from_millis(1200);

/// The binary under test.
pub(crate) fn weir() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_weir"))
}

/// Whether this process may make namespaces; says why not.
pub(crate) fn is_root() -> bool {
    let root =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("proc")) == 0;
    if !root {
        eprintln!("skipped: needs root for network namespaces and eBPF");
    }
    root
}

/// A pod `demo/NAME`, labelled `app=NAME`, as the policies of the tests expect it.
pub(crate) fn pod(name: &str) -> PodSpec {
    PodSpec::new("demo", name).label("app", name)
}

/// A cluster, its manifests, and what runs beside it.
pub(crate) struct Stage {
    pub(crate) manifests: ManifestDir,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cluster: Cluster,
}

/// A running collector and how to make the same again.
pub(crate) struct Collector {
    pub(crate) process: RunningProcess,
    pub(crate) server: String,
    command: Box<dyn Fn() -> Command + Send>,
    log: PathBuf,
}

impl Stage {
    /// A cluster with these policies.
    pub(crate) fn new(spec: &ClusterSpec, policies: &str) -> Self {
        let cluster = Cluster::create(spec).expect("cluster");
        let manifests = ManifestDir::new().expect("manifests");
        manifests
            .put("cluster.yaml", &cluster.manifests())
            .expect("written");
        manifests.put("policies.yaml", policies).expect("written");
        let directory = tempfile::tempdir().expect("temporary directory");
        Self {
            manifests,
            directory,
            cluster,
        }
    }

    /// Where a file of the test lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a collector for a node in a namespace, with more arguments.
    pub(crate) fn collector(&self, node: &str, netns: &NetNs, more: &[&str]) -> Collector {
        let source = format!("--manifests={}", self.manifests.path().display());
        self.collector_from(&source, node, netns, more)
    }

    /// The same, with the argument that says where the cluster's state comes from.
    pub(crate) fn collector_from(
        &self,
        source: &str,
        node: &str,
        netns: &NetNs,
        more: &[&str],
    ) -> Collector {
        let pin_root = self
            .cluster
            .node(node)
            .expect("node")
            .pin_root()
            .expect("pin root");
        let socket = self.path(&format!("{node}.sock"));
        let mut args = vec![
            "collector".to_owned(),
            format!("--node={node}"),
            source.to_owned(),
            format!("--pin-root={}", pin_root.display()),
            format!(
                "--state-dir={}",
                self.path(&format!("{node}-state")).display()
            ),
            format!("--unix-socket={}", socket.display()),
            "--update-interval=1s".to_owned(),
            "--sweep-interval=200ms".to_owned(),
        ];
        args.extend(more.iter().map(ToString::to_string));
        let netns = netns.clone();
        let command = Box::new(move || {
            let mut command = netns.command(weir());
            command.args(&args);
            command
        });
        let log = self.path(&format!("{node}.log"));
        let mut process = RunningProcess::spawn(command(), &log).expect("started");
        process.wait_for_line("ready", PATIENCE).expect("ready");
        Collector {
            process,
            server: format!("unix://{}", socket.display()),
            command,
            log,
        }
    }
}

impl Collector {
    /// SIGKILL, and the same command again.
    pub(crate) fn restart(&mut self) {
        self.process.kill().expect("killed");
        self.start_until("ready");
    }

    /// The same command again once it is killed, until it has written a line with `needle` in it.
    pub(crate) fn start_until(&mut self, needle: &str) {
        self.process = RunningProcess::spawn((self.command)(), &self.log).expect("started");
        self.process.wait_for_line(needle, PATIENCE).expect(needle);
    }
}

/// Runs `weir` to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(weir())
        .args(args)
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("weir runs")
}

/// All flows that a server gives for these arguments of `weir observe`.
pub(crate) fn observe(server: &str, args: &[&str]) -> Vec<Value> {
    let mut command = vec![
        "observe", "--server", server, "--last", "1000", "-o", "json",
    ];
    command.extend(args);
    let output = run(&command);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|mut line| line.get_mut("flow").map(Value::take))
        .collect()
}

/// Asks again until a flow fits.
pub(crate) fn wait_for_flow(server: &str, args: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let flows = observe(server, args);
        if let Some(flow) = flows.iter().find(|flow| fits(flow)) {
            return flow.clone();
        }
        assert!(began.elapsed() < PATIENCE, "no such flow in {flows:#?}");
        sleep(Duration::from_millis(100));
    }
}

/// Waits until `holds`.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < PATIENCE,
            "not so after {PATIENCE:?}: {what}"
        );
        sleep(Duration::from_millis(50));
    }
}

/// All files below a directory with this extension.
pub(crate) fn files_with(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files
}

/// `demo/target` may be reached on 1234 from `app=allowed` only.
pub(crate) const POLICIES: &str = include_str!("../../src/demo/manifests/demo.yaml");

/// The text of a field of a JSON value.
pub(crate) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A 64-bit number of a JSON value, which protobuf writes as text.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    text(value, pointer).parse().unwrap_or_default()
}
