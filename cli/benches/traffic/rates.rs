//! Throughput, request/response and connect/close: without Weir, with empty programs on its hooks, with Weir.
//!
//! Four nodes alike stand side by side and take turns, so that what else happens on the machine meets all of them; two
//! of them have nothing attached, and their difference is what a difference must exceed to mean anything.

use std::time::Duration;

use super::common::Length;
use super::common::collector::Collector;
use super::common::report::{self, Spread, Verdict};
use super::empty::EmptyPrograms;
use super::load::{Ends, Kind, Measured, measure};
use super::stage::Stage;

/// The nodes, in the order of a round's measurements.
const BARE: usize = 0;
const AGAIN: usize = 1;
const EMPTY: usize = 2;
const WEIR: usize = 3;
const NODES: [&str; 4] = ["bare", "again", "empty", "weir"];

const KINDS: [Kind; 3] = [Kind::Throughput, Kind::RequestResponse, Kind::ConnectClose];

/// Servers are reached by clients and by the host beside the node, clients reach servers only.
const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: bench}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector: {matchLabels: {app: client}}
        - ipBlock: {cidr: 172.18.0.1/32}
      ports: [{port: 5000, protocol: TCP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: bench}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}]}]
";

/// Which interfaces are on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Two of them, each with its own flow and records.
    PodToPod,
    /// The server's, as peers were measured.
    HostToPod,
}

/// The measurements of one round, and what the collector used meanwhile.
struct Round {
    nodes: [Measured; 4],
    collector: Duration,
}

/// All nodes.
struct Bench {
    stage: Stage,
    collector: Collector,
    _empty: EmptyPrograms,
}

pub(crate) fn run(length: Length) {
    let mut bench = Bench::new();
    for way in [Way::PodToPod, Way::HostToPod] {
        report::heading(match way {
            Way::PodToPod => "pod to pod on one node, two interfaces with Weir",
            Way::HostToPod => "another host to a pod, one interface with Weir",
        });
        for kind in KINDS {
            let rounds: Vec<Round> = (0..length.pick(9, 3))
                .map(|number| bench.round(way, kind, number, length))
                .collect();
            lines(kind, &rounds);
        }
    }
}

impl Bench {
    fn new() -> Self {
        let pods = NODES.map(|node| ["client", "server"].map(|app| format!("{app}-{node}")));
        let nodes: Vec<(&str, &[String])> = NODES
            .into_iter()
            .zip(pods.iter().map(<[String; 2]>::as_slice))
            .collect();
        let stage = Stage::new(&nodes, POLICIES);
        let node = stage.node(NODES[EMPTY]);
        let interfaces: Vec<&str> = node
            .pods()
            .iter()
            .map(|pod| pod.host_interface.as_str())
            .collect();
        let empty = EmptyPrograms::attach(&node.netns, &interfaces);
        let mut collector = stage.collector(NODES[WEIR], 131_072);
        collector.pause();
        Self {
            stage,
            collector,
            _empty: empty,
        }
    }

    /// Measures all nodes once, each time beginning with another.
    fn round(&mut self, way: Way, kind: Kind, number: usize, length: Length) -> Round {
        let mut nodes: [Option<Measured>; 4] = [None; 4];
        let mut collector = Duration::ZERO;
        let time = Duration::from_millis(length.pick(450, 150));
        for turn in 0..NODES.len() {
            let node = (number + turn) % NODES.len();
            let ends = self.ends(way, node);
            if node == WEIR {
                // It runs on Weir's turn only: what it does there is in Weir's numbers and nobody else's.
                let before = self.collector.cpu();
                self.collector.resume();
                nodes[node] = Some(measure(&ends, kind, time));
                self.collector.pause();
                collector = self.collector.cpu() - before;
            } else {
                nodes[node] = Some(measure(&ends, kind, time));
            }
        }
        Round {
            nodes: nodes.map(Option::unwrap),
            collector,
        }
    }

    fn ends(&self, way: Way, node: usize) -> Ends {
        let name = NODES[node];
        let server = self.stage.pod(&format!("server-{name}"));
        let client = match way {
            Way::PodToPod => self.stage.pod(&format!("client-{name}")).netns.clone(),
            Way::HostToPod => self.stage.cluster.fabric().netns,
        };
        Ends {
            client,
            server: server.netns.clone(),
            address: server.addresses.v4,
        }
    }
}

fn lines(kind: Kind, rounds: &[Round]) {
    let ratio = |node: usize, of: usize| {
        let ratios = rounds
            .iter()
            .map(|round| round.nodes[node].rate() / round.nodes[of].rate());
        Spread::of(ratios)
    };
    let bare = Spread::of(rounds.iter().map(|round| round.nodes[BARE].rate())).median;
    let (again, empty) = (ratio(AGAIN, BARE), ratio(EMPTY, BARE));
    let (weir, over_empty) = (ratio(WEIR, BARE), ratio(WEIR, EMPTY));
    let (name, bare, limit, judged) = match kind {
        Kind::Throughput => (
            "TCP throughput",
            format!("{:.1} Gbit/s", bare * 8.0 / 1e9),
            0.97,
            over_empty,
        ),
        Kind::RequestResponse => ("1-byte request/response", per_second(bare), 0.97, weir),
        Kind::ConnectClose => ("connect/close", per_second(bare), 0.95, weir),
    };
    report::line(
        &format!("{name}, without Weir"),
        format!("{bare}; the other bare node {again}"),
        "",
        Verdict::Reported,
    );
    report::line(
        &format!("{name}, empty programs / without"),
        empty,
        "",
        Verdict::Reported,
    );
    let mut limit_text = format!("{limit}");
    let mut holds = judged.median >= limit;
    if kind == Kind::Throughput {
        // A difference that two bare nodes show as well is none.
        limit_text = format!("{limit} of empty, or the spread of bare nodes");
        holds |= judged.median >= again.least;
        report::line(
            &format!("{name}, Weir / without"),
            weir,
            "",
            Verdict::Reported,
        );
        report::line(
            &format!("{name}, Weir / empty programs"),
            judged,
            &limit_text,
            holds.into(),
        );
        return;
    }
    report::line(
        &format!("{name}, Weir / without"),
        judged,
        &limit_text,
        holds.into(),
    );
    processor_time(kind, name, rounds);
}

/// What an operation costs both ends, the kernel's programs included, and what it costs the collector.
fn processor_time(kind: Kind, name: &str, rounds: &[Round]) {
    let added = |node: usize| {
        let differences = rounds
            .iter()
            .map(|round| round.nodes[node].cpu_each() - round.nodes[BARE].cpu_each());
        Spread::of(differences)
    };
    let bare = Spread::of(rounds.iter().map(|round| round.nodes[BARE].cpu_each())).median;
    let (again, empty, weir) = (added(AGAIN), added(EMPTY), added(WEIR));
    let (limit, verdict) = match kind {
        Kind::ConnectClose => ("+4 µs", Verdict::from(weir.median <= 4.0)),
        Kind::Throughput | Kind::RequestResponse => ("", Verdict::Reported),
    };
    report::line(
        &format!("{name}, processor time in the kernel and both ends"),
        format!(
            "{bare:.2} µs; Weir {weir:+.2}, empty {:+.2}, bare again {:+.2}",
            empty.median, again.median
        ),
        limit,
        verdict,
    );
    let collector = rounds
        .iter()
        .map(|round| report::micros(round.collector) / round.nodes[WEIR].operations);
    report::line(
        &format!("{name}, processor time of the collector beside it"),
        format!("{:.2} µs", Spread::of(collector)),
        "",
        Verdict::Reported,
    );
}

fn per_second(rate: f64) -> String {
    format!("{:.1} k/s", rate / 1e3)
}
