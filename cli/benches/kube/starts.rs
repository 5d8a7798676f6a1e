//! Pods that start on the node: until their interface carries the programs, and until their policies are in force.

use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_testkit::PodSpec;

use super::common::Length;
use super::common::report::{self, Spread};
use super::population::{LOCAL, node_name};
use super::stage::{Stage, with_addresses};

const PATIENCE: Duration = Duration::from_secs(30);
const ATTACHED: &str = "weir_endpoint_attach_seconds";
const PROGRAMMED: &str = "weir_endpoint_program_seconds";

/// What the collector has observed so far of something: how often, and seconds in all.
#[derive(Clone, Copy)]
struct Observed {
    count: u64,
    seconds: f64,
}

impl Observed {
    fn now(stage: &Stage, name: &str) -> Self {
        let metrics = stage.collector.metrics();
        Self {
            count: metrics.count(&format!("{name}_count")),
            seconds: metrics.sum(&format!("{name}_sum")),
        }
    }

    /// Milliseconds of the one that comes next.
    fn next(self, stage: &Stage, name: &str) -> f64 {
        let began = Instant::now();
        loop {
            let now = Self::now(stage, name);
            if now.count > self.count {
                return (now.seconds - self.seconds) * 1e3 / (now.count - self.count) as f64;
            }
            assert!(began.elapsed() < PATIENCE, "no more of {name}");
            sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn run(stage: &mut Stage, length: Length) {
    let (mut attached, mut programmed) = (Vec::new(), Vec::new());
    for number in 0..length.pick(50, 5) {
        let (attach, program) = start(stage, number);
        attached.push(attach);
        programmed.push(program);
    }
    let pods = attached.len();
    for (what, times, limit) in [
        ("interface → attached", attached, 40.0),
        ("address known → programmed", programmed, 100.0),
    ] {
        let times = Spread::of(times);
        report::line(
            &format!("{what} ({pods} new pods)"),
            format!("{times:.1} ms"),
            &format!("{limit:.0} ms"),
            (times.median <= limit).into(),
        );
    }
}

/// A pod is scheduled, gets its interface, and the API hears of its addresses.
fn start(stage: &mut Stage, number: usize) -> (f64, f64) {
    let mut pod = stage.scale.pod(number * 7 % LOCAL);
    pod.name = format!("starter-{number}");
    pod.uid = format!("00000000-0000-4000-9000-{number:012x}");
    pod.addresses.clear();
    stage.api.apply(pod.json()).unwrap();
    let attached = Observed::now(stage, ATTACHED);
    let spec = PodSpec::new(&pod.namespace, &pod.name);
    stage.cluster.add_pods(&node_name(0), &[spec]).unwrap();
    let attached = attached.next(stage, ATTACHED);
    let placed = stage.cluster.pod(&pod.namespace, &pod.name).unwrap();
    let programmed = Observed::now(stage, PROGRAMMED);
    let pod = with_addresses(pod, placed.addresses.both());
    stage.api.apply(pod.json()).unwrap();
    (attached, programmed.next(stage, PROGRAMMED))
}
