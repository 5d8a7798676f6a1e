//! Floods of new flows into a pod that has a connection: what the connection keeps of the rate that it has under the
//! same flood without Weir.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use weir_testkit::{FrameSender, Pod};

use super::common::Length;
use super::common::collector::Collector;
use super::common::report::{self, Spread, Verdict};
use super::frames::{Flood, Sent, paced};
use super::load::{self, Ends, Kind};
use super::stage::Stage;

const TABLE: u32 = 16_384;
/// New flows a second.
const RATE: u64 = 20_000;

/// The isolated server is open to everybody: its floods are allowed, flow by flow.
const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated, namespace: bench}
spec:
  podSelector: {matchLabels: {app: isolated}}
  policyTypes: [Ingress]
  ingress: [{ports: [{port: 5000, protocol: TCP}, {port: 5000, protocol: UDP}]}]
";

/// A server under a flood: on which node, and that node's port of the fabric.
#[derive(Clone, Copy)]
struct Victim {
    /// What its pods are called, up to the number.
    server: &'static str,
    client: &'static str,
    node: &'static str,
    uplink: &'static str,
}

const BARE: Victim = Victim {
    server: "server",
    client: "client-bare",
    node: "bare",
    uplink: "port1",
};
const OPEN: Victim = Victim {
    server: "open",
    client: "client-weir",
    node: "weir",
    uplink: "port2",
};
const ISOLATED: Victim = Victim {
    server: "isolated",
    ..OPEN
};

pub(crate) fn run(length: Length) {
    // Each flood has its own pods: one that has had a flood has used up its share of the table for a while.
    let floods = Flood::ALL.len() * length.pick(3, 1);
    let pods = |victims: &[Victim]| -> Vec<String> {
        let servers = |victim: &Victim| (0..floods).map(|number| pod(*victim, number)).collect();
        let mut pods: Vec<String> = victims.iter().flat_map::<Vec<String>, _>(servers).collect();
        pods.push(victims[0].client.to_owned());
        pods
    };
    let (bare, weir) = (pods(&[BARE]), pods(&[OPEN, ISOLATED]));
    let stage = Stage::new(&[(BARE.node, &bare), (OPEN.node, &weir)], POLICIES);
    let mut collector = stage.collector(OPEN.node, TABLE);
    let mut numbers = 0..floods;
    let count = length.pick(4, 1) * u64::from(TABLE);
    report::heading(&format!(
        "request/response under {RATE} new flows/s into the same pod, {count} flows, table of {TABLE}"
    ));
    for flood in Flood::ALL {
        let rounds: Vec<[f64; 3]> = (0..length.pick(3, 1))
            .map_while(|_| numbers.next())
            .map(|number| round(&stage, &mut collector, flood, count, number))
            .collect();
        lines(flood, &rounds, &collector);
    }
}

fn pod(victim: Victim, number: usize) -> String {
    format!("{}-{number}", victim.server)
}

/// Rates of the connection: without Weir, with Weir to an open pod, to an isolated one.
fn round(
    stage: &Stage,
    collector: &mut Collector,
    flood: Flood,
    count: u64,
    number: usize,
) -> [f64; 3] {
    [BARE, OPEN, ISOLATED].map(|victim| {
        if victim.node == BARE.node {
            collector.pause();
        } else {
            collector.resume();
        }
        let server = stage.pod(&pod(victim, number));
        let rate = under_flood(stage, victim, server, flood, count);
        collector.resume();
        rate
    })
}

/// The connection and the flood share a processor: what the flood costs, the connection lacks.
fn under_flood(stage: &Stage, victim: Victim, server: &Pod, flood: Flood, count: u64) -> f64 {
    let ends = Ends {
        client: stage.pod(victim.client).netns.clone(),
        server: server.netns.clone(),
        address: server.addresses.v4,
    };
    // Takes datagrams and answers none.
    let _sink = server
        .netns
        .run(|| std::net::UdpSocket::bind(("0.0.0.0", load::PORT)))
        .unwrap()
        .unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let connection = scope.spawn(|| load::measure_until(&ends, Kind::RequestResponse, &stop));
        let sent = send(stage, victim, server, flood, count);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(sent.frames, count);
        connection.join().unwrap().rate()
    })
}

fn send(stage: &Stage, victim: Victim, server: &Pod, flood: Flood, count: u64) -> Sent {
    let node = stage.node(victim.node).mac;
    let sender = FrameSender::open(&stage.cluster.fabric().netns, victim.uplink).unwrap();
    load::pin(0);
    paced(Some(RATE), count, |number| {
        let frame = flood.frame(number, server, load::PORT, node);
        sender.send(&frame).unwrap();
    })
}

fn lines(flood: Flood, rounds: &[[f64; 3]], collector: &Collector) {
    let lost = collector.metrics().count("weir_lost_packets_total");
    for (number, pod) in [(1, "an open pod"), (2, "an isolated pod")] {
        let ratio = Spread::of(rounds.iter().map(|rates| rates[number] / rates[0]));
        report::line(
            &format!("{}, {pod}: Weir / without", flood.name()),
            format!("{ratio}"),
            "0.95",
            Verdict::from(ratio.median >= 0.95),
        );
    }
    let bare = Spread::of(rounds.iter().map(|rates| rates[0] / 1e3));
    report::line(
        &format!("{}, without Weir", flood.name()),
        format!("{bare:.1} k/s; packets in loss records so far: {lost}"),
        "",
        Verdict::Reported,
    );
}
