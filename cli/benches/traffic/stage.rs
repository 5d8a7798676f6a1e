//! The cluster and the collector under measurement.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weir_testkit::{Cluster, ClusterSpec, ManifestDir, NetNs, Node, NodeSpec, Pod, PodSpec};
use weir_testkit::{RunningProcess, Topology};

const PATIENCE: Duration = Duration::from_secs(30);
/// Where a collector serves its metrics, in its node's namespace.
const METRICS_PORT: u16 = 9965;
/// Where the namespace of all pods lies.
pub(crate) const NAMESPACE: &str = "bench";
/// Addresses that nobody has; nodes drop what is sent there.
pub(crate) const NOWHERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Full,
    Quick,
}

impl Length {
    /// One of two values.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// A cluster and its manifests.
pub(crate) struct Stage {
    pub(crate) manifests: ManifestDir,
    pub(crate) cluster: Cluster,
    directory: tempfile::TempDir,
}

/// A running collector.
pub(crate) struct Collector {
    process: RunningProcess,
    netns: NetNs,
}

impl Stage {
    /// Nodes with pods of these names, each pod labelled `app=<its name up to the dash>`.
    pub(crate) fn new(nodes: &[(&str, &[String])], policies: &str) -> Self {
        let spec = nodes
            .iter()
            .fold(ClusterSpec::new(Topology::Ptp), |spec, (name, pods)| {
                spec.node(pods.iter().fold(NodeSpec::new(name), |node, name| {
                    let app = name.split('-').next().unwrap_or(name);
                    node.pod(PodSpec::new(NAMESPACE, name).label("app", app))
                }))
            });
        let cluster = Cluster::create(&spec).unwrap();
        for node in cluster.nodes() {
            let nowhere = format!("route add blackhole {NOWHERE}/15");
            node.netns.ip(&[nowhere]).unwrap();
        }
        let manifests = ManifestDir::new().unwrap();
        manifests.put("cluster.yaml", &cluster.manifests()).unwrap();
        manifests.put("policies.yaml", policies).unwrap();
        Self {
            manifests,
            cluster,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.cluster.node(name).unwrap()
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.cluster.pod(NAMESPACE, name).unwrap()
    }

    /// Starts the release binary on a node, with its usual settings and a flow table of this size, and waits until all
    /// is in force.
    pub(crate) fn collector(&self, node: &str, table: u32) -> Collector {
        let node = self.node(node);
        let path = |name: &str| self.directory.path().join(format!("{}-{name}", node.name));
        let mut command = node.netns.command(env!("CARGO_BIN_EXE_weir"));
        command
            .arg("collector")
            .arg(format!("--node={}", node.name))
            .arg(format!("--flow-table-size={table}"))
            .arg(format!("--metrics-listen=127.0.0.1:{METRICS_PORT}"));
        let places = [
            ("--manifests", self.manifests.path().to_owned()),
            ("--pin-root", node.pin_root().unwrap()),
            ("--state-dir", path("state")),
            ("--unix-socket", path("sock")),
        ];
        for (flag, place) in places {
            command.arg(format!("{flag}={}", place.display()));
        }
        Collector::start(command, &path("log"), node.netns.clone())
    }
}

impl Collector {
    fn start(command: Command, log: &std::path::Path, netns: NetNs) -> Self {
        let mut process = RunningProcess::spawn(command, log).unwrap();
        process.wait_for_line("ready", PATIENCE).unwrap();
        Self { process, netns }
    }

    /// Stops it in its tracks; what its programs do in the kernel goes on.
    pub(crate) fn pause(&mut self) {
        self.process.signal(Signal::SIGSTOP).unwrap();
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        self.process.signal(Signal::SIGCONT).unwrap();
    }

    /// Processor time that all its threads have used.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let nanos = std::fs::read_dir(tasks).unwrap().flatten().map(|task| {
            let times = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let running = times.split_whitespace().next();
            running.and_then(|time| time.parse::<u64>().ok())
        });
        Duration::from_nanos(nanos.flatten().sum())
    }

    /// Its metrics now.
    pub(crate) fn metrics(&self) -> Metrics {
        let text = self.netns.run(|| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, METRICS_PORT))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        });
        Metrics(text.unwrap().unwrap())
    }

    /// What it uses now.
    pub(crate) fn memory(&self) -> Memory {
        let process = format!("/proc/{}", self.process.pid());
        let number = |file: &str, field: &str| {
            let text = std::fs::read_to_string(format!("{process}/{file}")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // A map may be open more than once.
        let maps: BTreeMap<u64, u64> = std::fs::read_dir(format!("{process}/fdinfo"))
            .unwrap()
            .flatten()
            .filter_map(|fd| {
                let file = format!("fdinfo/{}", fd.file_name().display());
                Some((number(&file, "map_id:")?, number(&file, "memlock:")?))
            })
            .collect();
        Memory {
            resident: number("status", "VmRSS:").unwrap_or_default() << 10,
            maps: maps.values().sum(),
        }
    }

    /// Its metrics once they `fit`, or as they are when a generous time is over.
    pub(crate) fn settled(&self, fits: impl Fn(&Metrics) -> bool) -> Metrics {
        let began = Instant::now();
        loop {
            let metrics = self.metrics();
            if fits(&metrics) || began.elapsed() > Duration::from_secs(10) {
                return metrics;
            }
            sleep(Duration::from_millis(100));
        }
    }
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The process's own, resident.
    pub(crate) resident: u64,
    /// That of the kernel's maps, as the kernel accounts for it.
    pub(crate) maps: u64,
}

/// A text of metrics.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of all series whose line begins so.
    pub(crate) fn sum(&self, prefix: &str) -> f64 {
        let lines = self.0.lines().filter(|line| line.starts_with(prefix));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// The same of a counter of whole things.
    pub(crate) fn count(&self, prefix: &str) -> u64 {
        self.sum(prefix) as u64
    }
}
