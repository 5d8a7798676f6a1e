//! The collector under measurement: the release binary with its usual settings.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weir_testkit::{NetNs, Node, RunningProcess};

/// A large cluster takes its time to be listed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Where a collector serves its metrics, in its node's namespace.
const METRICS_PORT: u16 = 9965;

/// A running collector.
pub(crate) struct Collector {
    process: RunningProcess,
    netns: NetNs,
}

impl Collector {
    /// Starts the release binary on a node, with its usual settings, what it keeps in a directory and these arguments
    /// more, and waits until all is in force.
    pub(crate) fn start(node: &Node, directory: &Path, more: &[&str]) -> Self {
        let path = |name: &str| directory.join(format!("{}-{name}", node.name));
        let mut command = node.netns.command(env!("CARGO_BIN_EXE_weir"));
        command
            .arg("collector")
            .arg(format!("--node={}", node.name))
            .arg(format!("--metrics-listen=127.0.0.1:{METRICS_PORT}"))
            .args(more);
        let places = [
            ("--pin-root", node.pin_root().unwrap()),
            ("--state-dir", path("state")),
            ("--unix-socket", path("sock")),
        ];
        for (flag, place) in places {
            command.arg(format!("{flag}={}", place.display()));
        }
        let mut process = RunningProcess::spawn(command, &path("log")).unwrap();
        process.wait_for_line("ready", PATIENCE).unwrap();
        Self {
            process,
            netns: node.netns.clone(),
        }
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

    /// The same, of threads too that have ended, in steps of ten milliseconds: for long times (`man proc_pid_stat`).
    pub(crate) fn cpu_of_all(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.pid());
        let stat = std::fs::read_to_string(path).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split_whitespace();
        // `utime` and `stime`, which are fields 14 and 15; the second is the name.
        let ticks = fields
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
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
        let number = |fd: &Path, field: &str| {
            let text = std::fs::read_to_string(fd).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(field))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // A map may be open more than once.
        let maps: BTreeMap<u64, u64> =
            std::fs::read_dir(format!("/proc/{}/fdinfo", self.process.pid()))
                .unwrap()
                .flatten()
                .filter_map(|fd| {
                    let fd = fd.path();
                    Some((number(&fd, "map_id:")?, number(&fd, "memlock:")?))
                })
                .collect();
        let size = |field| self.process.memory(field).unwrap_or_default();
        Memory {
            resident: size("VmRSS"),
            anonymous: size("RssAnon"),
            peak: size("VmHWM"),
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
    /// What of that is no file's: heap and stacks.
    pub(crate) anonymous: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
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
