//! One pod's namespace with an `eth0`, a sidecar in it, and packets made by hand through it, both ways.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_policy::casefile::Check;
use weir_policy::explain::NamedRule;
use weir_policy::model::{Direction, Name, Protocol};
use weir_policy::tables::ProtocolClass;
use weir_testkit::{
    Arrival, Arrivals, Capture, Cluster, ClusterSpec, FrameSender, ManifestDir, NodeSpec, Packet,
    Pod, PodSpec, RunningProcess, TcpFlags, Topology, Transport,
};

use super::{PATIENCE, observe, text, weir};

/// What one end of a connection does, and what is known of its verdict.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Line in the table.
    pub(crate) line: usize,
    /// The packet.
    pub(crate) check: Check,
    /// What the table says.
    pub(crate) allowed: bool,
    /// The rule that allows it, as the model names it.
    pub(crate) rule: Option<NamedRule>,
}

/// Packets on their way, and where they are seen if they pass.
pub(crate) struct Volley {
    shots: Vec<Shot>,
    wire: Capture,
    arrived: BTreeSet<Arrival>,
}

/// A row's packet.
struct Shot {
    row: Row,
    source_port: u16,
    frame: Vec<u8>,
}

/// The pod's namespace, used for one pod after the other.
pub(crate) struct Place {
    cluster: Cluster,
    manifests: ManifestDir,
    directory: tempfile::TempDir,
    into_pod: FrameSender,
    out_of_pod: FrameSender,
    arrivals: Arrivals,
    next_port: u16,
}

/// A running sidecar.
pub(crate) struct Sidecar {
    process: RunningProcess,
    server: String,
}

impl Place {
    /// A node with a pod, which is never told to the sidecars: they hear of the pods of the cases.
    pub(crate) fn new() -> Self {
        let pod = PodSpec::new("weir", "sidecar");
        let spec = ClusterSpec::new(Topology::Ptp).node(NodeSpec::new("node").pod(pod));
        let cluster = Cluster::create(&spec).expect("cluster");
        let pod = cluster.pod("weir", "sidecar").expect("pod");
        let node = &cluster.node("node").expect("node").netns;
        let into_pod = FrameSender::open(node, &pod.host_interface).expect("sender");
        let out_of_pod = FrameSender::open(&pod.netns, "eth0").expect("sender");
        let arrivals = Arrivals::start(&pod.netns).expect("raw sockets");
        Self {
            manifests: ManifestDir::new().expect("manifests"),
            directory: tempfile::tempdir().expect("temporary directory"),
            into_pod,
            out_of_pod,
            arrivals,
            next_port: 0,
            cluster,
        }
    }

    fn pod(&self) -> &Pod {
        self.cluster.pod("weir", "sidecar").expect("pod")
    }

    fn pin_root(&self) -> PathBuf {
        let node = self.cluster.node("node").expect("node");
        node.pin_root().expect("pin root")
    }

    /// Makes these the only addresses of `eth0`, and no route for answers: only the rows' own packets are on the way.
    pub(crate) fn give(&self, addresses: &[IpAddr]) {
        let mut lines = vec!["addr flush dev eth0".to_owned()];
        for address in addresses {
            let (length, more) = match address {
                IpAddr::V4(_) => (32, ""),
                IpAddr::V6(_) => (128, " nodad"),
            };
            lines.push(format!("addr add {address}/{length} dev eth0{more}"));
        }
        self.pod().netns.ip(&lines).expect("addresses");
    }

    /// Mounts these manifests, in the place of those before.
    pub(crate) fn mount(&self, files: &BTreeMap<String, String>) {
        for entry in fs::read_dir(self.manifests.path()).expect("readable") {
            let name = entry.expect("entry").file_name();
            let name = name.to_str().expect("text");
            if !files.contains_key(name) {
                self.manifests.remove(name).expect("removed");
            }
        }
        for (name, text) in files {
            self.manifests.put(name, text).expect("written");
        }
    }

    /// Starts a sidecar for a pod that the manifests know.
    pub(crate) fn start(&self, pod: &Name) -> Sidecar {
        let socket = self.directory.path().join("hubble.sock");
        let mut command = self.pod().netns.command(weir());
        command
            .args(["collector", "--node=elsewhere", "--pending=deny"])
            .arg(format!("--sidecar={pod}"))
            .arg(format!("--manifests={}", self.manifests.path().display()))
            .arg(format!("--pin-root={}", self.pin_root().display()))
            .arg(format!("--state-dir={}", self.state().display()))
            .arg(format!("--unix-socket={}", socket.display()))
            .args(["--flow-table-size=65536", "--sweep-interval=200ms"]);
        let log = self.directory.path().join("sidecar.log");
        let mut process = RunningProcess::spawn(command, &log).expect("started");
        process.wait_for_line("ready", PATIENCE).expect("ready");
        Sidecar {
            process,
            server: format!("unix://{}", socket.display()),
        }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Ends a sidecar and all it left.
    pub(crate) fn end(&self, mut sidecar: Sidecar) {
        sidecar.process.terminate(PATIENCE).expect("ended");
        let detached = Command::new(weir())
            .args(["collector", "--detach"])
            .arg(format!("--pin-root={}", self.pin_root().display()))
            .status();
        assert!(detached.expect("weir runs").success());
        fs::remove_dir_all(self.state()).expect("removed");
    }

    /// Sends a packet for each row, each from a source port of its own.
    pub(crate) fn shoot(&mut self, rows: &[Row]) -> Volley {
        let node = &self.cluster.node("node").expect("node").netns;
        let wire = Capture::start(node, &self.pod().host_interface).expect("capture");
        self.arrivals.take().expect("what came before");
        let mut shots = Vec::new();
        for row in rows {
            self.next_port = (self.next_port + 1) % 20_000;
            let source_port = 40_000 + self.next_port;
            let frame = self.frame(&row.check, source_port);
            let sender = match row.check.query.direction {
                Direction::Ingress => &self.into_pod,
                Direction::Egress => &self.out_of_pod,
            };
            sender.send(&frame).expect("sent");
            shots.push(Shot {
                row: row.clone(),
                source_port,
                frame,
            });
        }
        Volley {
            shots,
            wire,
            arrived: BTreeSet::new(),
        }
    }

    fn frame(&self, check: &Check, source_port: u16) -> Vec<u8> {
        let query = &check.query;
        let pod = self.pod();
        let (source, destination, macs) = match query.direction {
            Direction::Ingress => (query.remote, query.local, (pod.host_mac, pod.mac)),
            Direction::Egress => (query.local, query.remote, (pod.mac, pod.host_mac)),
        };
        let transport = match protocol(check) {
            Protocol::Tcp => Transport::tcp(source_port, query.port, TcpFlags::SYN),
            Protocol::Udp => Transport::udp(source_port, query.port, b"weir"),
            Protocol::Sctp => Transport::sctp_init(source_port, query.port),
        };
        let packet = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Packet::v4(source, destination, transport)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Packet::v6(source, destination, transport)
            }
            _ => panic!("two families: {check:?}"),
        };
        packet.ethernet(macs.0, macs.1).frame()
    }

    /// The rows of a volley that did not end as they should, those behind which nothing shows yet among them.
    pub(crate) fn wrong(&mut self, volley: &mut Volley) -> Vec<String> {
        volley
            .arrived
            .extend(self.arrivals.take().expect("arrivals"));
        let sent = volley.wire.frames().expect("frames");
        let sent: HashSet<&[u8]> = sent.iter().map(|frame| &frame.bytes[..]).collect();
        let passed = |shot: &Shot| match shot.row.check.query.direction {
            Direction::Ingress => volley.arrived.contains(&shot.arrival()),
            Direction::Egress => sent.contains(&shot.frame[..]),
        };
        let shots = volley.shots.iter().filter(|shot| shot.row.is_delivered());
        let wrong = shots.filter(|shot| passed(shot) != shot.row.allowed);
        wrong.map(|shot| format!("{:?}", shot.row)).collect()
    }
}

impl Shot {
    fn arrival(&self) -> Arrival {
        let query = &self.row.check.query;
        Arrival {
            protocol: protocol(&self.row.check).number(),
            source: SocketAddr::new(query.remote, self.source_port),
            port: query.port,
        }
    }
}

impl Sidecar {
    /// Waits until there is a record of every packet of a volley, each with the verdict and the rule of its row.
    pub(crate) fn told(&self, volley: &Volley) {
        let began = Instant::now();
        loop {
            let flows = observe(&self.server, &[]);
            let told: HashMap<Told, &Value> = flows
                .iter()
                .map(|flow| (Told::in_record(flow), flow))
                .collect();
            let missing = volley.shots.iter().filter(|shot| {
                let flow = told.get(&Told::of_row(&shot.row));
                flow.inspect(|flow| shot.row.agrees(flow)).is_none()
            });
            let missing: Vec<&Row> = missing.map(|shot| &shot.row).collect();
            if missing.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "no record of {missing:#?}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.process.memory("VmRSS").expect("it runs")
    }
}

impl Row {
    /// Whether the pod's own IP stack takes a packet from there (RFC 1122 §3.2.1.3): for others the record has to do.
    fn is_delivered(&self) -> bool {
        let query = &self.check.query;
        let is_source = match query.remote {
            IpAddr::V4(v4) => !(v4.is_broadcast() || v4.octets()[0] == 0),
            IpAddr::V6(_) => true,
        };
        let remote = query.remote;
        query.direction == Direction::Egress
            || is_source
                && !remote.is_loopback()
                && !remote.is_multicast()
                && !remote.is_unspecified()
    }

    /// The record's verdict and rule are the row's.
    fn agrees(&self, flow: &Value) {
        let verdict = if self.allowed { "FORWARDED" } else { "DROPPED" };
        assert_eq!(text(flow, "/verdict"), verdict, "{self:?}: {flow:#}");
        let policy = |field| text(flow, &format!("/extensions/rule/policy/{field}"));
        let named = format!("{}/{}", policy("namespace"), policy("name"));
        let rule = self.rule.as_ref();
        let expected = rule.map_or("/".to_owned(), |rule| rule.policy.to_string());
        assert_eq!(named, expected, "{self:?}: {flow:#}");
    }
}

fn protocol(check: &Check) -> Protocol {
    match check.query.protocol {
        ProtocolClass::Named(protocol) => protocol,
        other => panic!("tables name protocols, not {other:?}"),
    }
}

/// What tells the records of a table's rows from each other; a denial's has no source port.
#[derive(PartialEq, Eq, Hash)]
struct Told {
    direction: String,
    source: String,
    destination: String,
    protocol: &'static str,
    port: u64,
}

impl Told {
    fn of_row(row: &Row) -> Self {
        let query = &row.check.query;
        let (source, destination) = match query.direction {
            Direction::Ingress => (query.remote, query.local),
            Direction::Egress => (query.local, query.remote),
        };
        Self {
            direction: query.direction.as_str().to_uppercase(),
            source: source.to_string(),
            destination: destination.to_string(),
            protocol: protocol(&row.check).as_str(),
            port: query.port.into(),
        }
    }

    fn in_record(flow: &Value) -> Self {
        let port = |protocol| {
            let port = flow.pointer(&format!("/l4/{protocol}/destination_port"))?;
            Some((protocol, port.as_u64()?))
        };
        let (protocol, port) = ["TCP", "UDP", "SCTP"]
            .into_iter()
            .find_map(port)
            .unwrap_or_default();
        Self {
            direction: text(flow, "/traffic_direction").to_owned(),
            source: text(flow, "/IP/source").to_owned(),
            destination: text(flow, "/IP/destination").to_owned(),
            protocol,
            port,
        }
    }
}
