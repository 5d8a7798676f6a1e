//! A node whose records all go to an aggregator, and the sums that have to agree: what the pods' interfaces counted,
//! and what the records, the loss records and the ledger's named non-flow counters tell.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_testkit::{ClusterSpec, NodeSpec, Pod, RunningProcess, Topology};

use super::lake::{Counts, Lake, Tally};
use super::{Collector, PATIENCE, Stage, number, pod, run, text, weir};

/// Packets that are no flow's: neighbours looking for each other, and errors about other packets.
const NON_FLOW: [&str; 5] = [
    "arp",
    "neighbour_discovery",
    "multicast_listener",
    "icmp_related",
    "icmp_unrelated",
];

/// The target is isolated: `app=allowed` may reach its port 1234 over TCP and UDP.
const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: target, namespace: demo}
spec:
  podSelector: {matchLabels: {app: target}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: allowed}}}]
      ports: [{port: 1234, protocol: TCP}, {port: 1234, protocol: UDP}]
";

/// The pods: who is reached, who may and who may not.
pub(crate) const PODS: [&str; 3] = ["target", "allowed", "denied"];

/// A node, its collector, an aggregator.
pub(crate) struct Exact {
    pub(crate) collector: Collector,
    aggregator: Option<RunningProcess>,
    /// What each interface had counted before the programs were there: from the pod, to the pod.
    before: BTreeMap<&'static str, (Tally, Tally)>,
    pub(crate) stage: Stage,
}

/// What is known about one pod.
#[derive(Debug)]
struct Sums {
    /// What its interface took from it and gave to it since the programs are there.
    interface: (Tally, Tally),
    records: Counts,
    non_flow: (Tally, Tally),
    lost: Tally,
}

impl Exact {
    /// Everything started, and quiet. More arguments go to the collector.
    pub(crate) fn start(more: &[&str]) -> Self {
        let mut exact = Self::without_aggregator(more);
        exact.start_aggregator();
        exact
    }

    /// The same, but the aggregator is not there yet.
    pub(crate) fn without_aggregator(more: &[&str]) -> Self {
        let node = PODS
            .iter()
            .fold(NodeSpec::new("node-1"), |node, name| node.pod(pod(name)));
        let stage = Stage::new(&ClusterSpec::new(Topology::Ptp).node(node), POLICIES);
        let fabric = stage.cluster.fabric();
        let uplink = format!("--aggregator=http://{}:4245", fabric.addresses.v4);
        let args: Vec<&str> = std::iter::once(uplink.as_str())
            .chain(more.iter().copied())
            .collect();
        let netns = stage.cluster.node("node-1").expect("node").netns.clone();
        let collector = stage.collector("node-1", &netns, &args);
        let mut exact = Self {
            collector,
            aggregator: None,
            before: BTreeMap::new(),
            stage,
        };
        for name in PODS {
            let before = exact.settled(name);
            exact.before.insert(name, before);
        }
        exact
    }

    /// Starts the aggregator.
    pub(crate) fn start_aggregator(&mut self) {
        let fabric = self.stage.cluster.fabric();
        let mut command = fabric.netns.command(weir());
        command.args([
            "aggregator".to_owned(),
            format!("--data-dir={}", self.stage.path("data").display()),
            format!("--listen={}:4245", fabric.addresses.v4),
            format!("--unix-socket={}", self.stage.path("agg.sock").display()),
            "--seal-interval=1s".to_owned(),
        ]);
        let log = self.stage.path("aggregator.log");
        let mut process = RunningProcess::spawn(command, &log).expect("started");
        process.wait_for_line("ready", PATIENCE).expect("ready");
        self.aggregator = Some(process);
    }

    /// A pod.
    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.stage.cluster.pod("demo", name).expect("pod")
    }

    /// What the collector says of itself.
    pub(crate) fn status(&self) -> Value {
        let output = run(&[
            "status",
            "--server",
            &self.collector.server,
            "--pods",
            "-o",
            "json",
        ]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        })
    }

    /// All records, once every row that the aggregator has is in a Parquet file.
    pub(crate) fn lake(&self) -> Lake {
        let server = format!("unix://{}", self.stage.path("agg.sock").display());
        let began = Instant::now();
        loop {
            let output = run(&["status", "--server", &server, "-o", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let lake = Lake::read(&self.stage.path("data"));
            if number(&status, "/rows") == lake.rows {
                return lake;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "not all rows in files: {} of {status:#}",
                lake.rows
            );
            sleep(Duration::from_millis(200));
        }
    }

    /// Waits until all sums agree, and gives all records. Traffic must have stopped.
    pub(crate) fn wait_until_sums_agree(&self) -> Lake {
        let began = Instant::now();
        loop {
            let lake = self.lake();
            let sums: BTreeMap<_, _> = PODS
                .iter()
                .map(|name| (*name, self.sums(name, &lake)))
                .collect();
            if sums.values().all(Sums::agree) {
                lake.assert_consistent();
                return lake;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the sums do not agree: {}\nlosses: {:?}\n{}",
                sums.iter()
                    .map(|(name, sums)| format!("\n{name}: {}", sums.explain()))
                    .collect::<String>(),
                lake.losses,
                self.collector.process.output().unwrap_or_default(),
            );
            sleep(Duration::from_millis(500));
        }
    }

    /// Waits until the records are as they should be, and gives them.
    pub(crate) fn wait_for(&self, fits: impl Fn(&Lake) -> bool) -> Lake {
        let began = Instant::now();
        loop {
            let lake = self.lake();
            if fits(&lake) {
                return lake;
            }
            assert!(
                began.elapsed() < 4 * PATIENCE,
                "never so: {:#?}",
                (lake.of_pod("target"), lake.losses)
            );
            sleep(Duration::from_secs(1));
        }
    }

    fn sums(&self, name: &str, lake: &Lake) -> Sums {
        let (from, to) = self.interface(name);
        let before = self.before[name];
        Sums {
            interface: (from - before.0, to - before.1),
            records: lake.of_pod(name),
            non_flow: self.ledger(name, |line| NON_FLOW.contains(&text(line, "/reason"))),
            lost: lake.lost_of(&format!("demo/{name}")),
        }
    }

    /// What a pod's interface has counted beyond what the programs have, at a quiet moment.
    fn settled(&self, name: &str) -> (Tally, Tally) {
        let began = Instant::now();
        loop {
            let interface = self.interface(name);
            // Longer than two sweeps.
            sleep(Duration::from_millis(700));
            let ledger = self.ledger(name, |_| true);
            if interface == self.interface(name) {
                return (interface.0 - ledger.0, interface.1 - ledger.1);
            }
            assert!(began.elapsed() < PATIENCE, "{name} is never quiet");
        }
    }

    /// Packets that a pod's interface took from the pod and gave to it.
    fn interface(&self, name: &str) -> (Tally, Tally) {
        let counters = self.pod(name).netns.counters("eth0").expect("counters");
        let tally = |packets, bytes| Tally { packets, bytes };
        (
            tally(counters.tx_packets, counters.tx_bytes),
            tally(counters.rx_packets, counters.rx_bytes),
        )
    }

    /// Sums of the status report's lines about a pod: of packets from it, dropped ones included, and to it.
    pub(crate) fn ledger(&self, name: &str, counts: impl Fn(&Value) -> bool) -> (Tally, Tally) {
        let status = self.status();
        let list = |value: &Value, key: &str| -> Vec<Value> {
            let list = value.get(key).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let endpoints = list(&status, "endpoints");
        let endpoint = endpoints
            .iter()
            .find(|endpoint| text(endpoint, "/pod") == name)
            .unwrap_or_else(|| panic!("no endpoint {name}: {status:#}"));
        let mut sums = (Tally::default(), Tally::default());
        for line in list(endpoint, "ledger").iter().filter(|line| counts(line)) {
            let tally = Tally {
                packets: number(line, "/total/packets"),
                bytes: number(line, "/total/bytes"),
            };
            match (text(line, "/direction"), text(line, "/verdict")) {
                ("egress", _) => sums.0 = sums.0 + tally,
                ("ingress", "dropped") => {}
                _ => sums.1 = sums.1 + tally,
            }
        }
        sums
    }
}

impl Sums {
    /// The loss records of a pod do not tell directions apart, so with losses only both together can agree.
    fn agree(&self) -> bool {
        let (from, to) = self.told();
        let (interface_from, interface_to) = self.interface;
        if self.lost == Tally::default() {
            (from, to) == self.interface
        } else {
            from + to + self.lost == interface_from + interface_to
        }
    }

    /// What the records and the non-flow counters tell: from the pod, to the pod.
    fn told(&self) -> (Tally, Tally) {
        let Counts {
            egress,
            ingress,
            egress_dropped,
            ..
        } = self.records;
        (
            egress + egress_dropped + self.non_flow.0,
            ingress + self.non_flow.1,
        )
    }

    fn explain(&self) -> String {
        format!(
            "interface {:?}, told {:?}, lost {:?} (records {:?}, non-flow {:?})",
            self.interface,
            self.told(),
            self.lost,
            self.records,
            self.non_flow
        )
    }
}
