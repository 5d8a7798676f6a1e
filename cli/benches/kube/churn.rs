//! Five hundred pod changes a second: new labels, pods that come, get their address, end and go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_testkit::api::Resource;

use super::common::Length;
use super::common::report::{self, Verdict};
use super::cost;
use super::latency::{self, Probe};
use super::objects::Pod;
use super::population::LOCAL;
use super::stage::Stage;

const RATE: u32 = 500;
const LIMIT: f64 = 0.3;
/// Pods that have come and not gone yet.
const ALIVE: usize = 500;

/// Changes pods, one after another.
struct Churn<'a> {
    stage: &'a Stage,
    made: usize,
    steps: usize,
    alive: VecDeque<Pod>,
}

impl Churn<'_> {
    /// One change: half of them are labels, the others the steps of a pod's life.
    fn step(&mut self) {
        self.steps += 1;
        match self.steps % 8 {
            1 => self.create(),
            3 => self.address(),
            5 if self.alive.len() > ALIVE => self.terminate(),
            7 if self.alive.len() > ALIVE => self.delete(),
            _ => self.relabel(),
        }
    }

    /// A version of the workload is rolled out, by label.
    fn relabel(&self) {
        // Local pods as often as others.
        let pod = self
            .stage
            .scale
            .pod(fastrand::usize(..self.stage.scale.pods));
        let release = format!("r{}", fastrand::u8(..5));
        let patch = json!({"metadata": {"labels": {"release": release}}});
        self.patch(&pod, patch);
    }

    /// A pod of some workload is scheduled to another node.
    fn create(&mut self) {
        let scale = &self.stage.scale;
        let template = scale.pod(fastrand::usize(LOCAL..scale.pods));
        self.made += 1;
        let fresh = scale.pod(scale.pods + self.made);
        let pod = Pod {
            name: format!("{}-{:05x}", template.owner.1, scale.pods + self.made),
            uid: fresh.uid,
            addresses: Vec::new(),
            ..template
        };
        self.stage.api.apply(pod.json()).unwrap();
        // For later: with an address that nobody has.
        self.alive.push_back(Pod {
            addresses: fresh.addresses,
            ..pod
        });
    }

    fn address(&self) {
        let pod = self.alive.back().unwrap();
        self.stage.api.apply(pod.json()).unwrap();
    }

    fn terminate(&self) {
        let patch = json!({"metadata": {"deletionTimestamp": "2026-03-01T10:00:00Z"}});
        self.patch(&self.alive[0], patch);
    }

    fn delete(&mut self) {
        let pod = self.alive.pop_front().unwrap();
        let deleted = self
            .stage
            .api
            .delete(Resource::Pods, &pod.namespace, &pod.name);
        deleted.unwrap();
    }

    fn patch(&self, pod: &Pod, patch: serde_json::Value) {
        let changed = self
            .stage
            .api
            .patch(Resource::Pods, &pod.namespace, &pod.name, patch);
        changed.unwrap();
    }

    /// At the rate, until told to stop.
    fn run(&mut self, stop: &AtomicBool) {
        let began = Instant::now();
        for step in 0.. {
            let due = Duration::from_secs(1) * step / RATE;
            sleep(due.saturating_sub(began.elapsed()));
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.step();
        }
    }
}

pub(crate) fn run(stage: &Stage, length: Length) {
    let mut churn = Churn {
        stage,
        made: 0,
        steps: 0,
        alive: VecDeque::new(),
    };
    // So that some are there to go.
    for _ in 0..ALIVE {
        churn.create();
        churn.address();
    }
    sleep(Duration::from_secs(2));
    let stop = AtomicBool::new(false);
    let time = length.pick(Duration::from_secs(30), Duration::from_secs(5));
    scope(|scope| {
        let changing = scope.spawn(|| churn.run(&stop));
        sleep(Duration::from_secs(2));
        measure(stage, time, length);
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap();
    });
    cost::resident(stage, "memory after the changes: resident");
}

fn measure(stage: &Stage, time: Duration, length: Length) {
    let before = stage.collector.metrics();
    let version = stage.api.version();
    let began = Instant::now();
    let cores = cost::cores(&stage.collector, || sleep(time));
    let rate = (stage.api.version() - version) as f64 / began.elapsed().as_secs_f64();
    let after = stage.collector.metrics();
    let what = format!("{rate:.0} pod changes/s, of a core");
    report::line(&what, format!("{cores:.3}"), "0.3", (cores <= LIMIT).into());
    let mean = |name: &str| {
        let grown = |part: &str| {
            let name = format!("{name}_{part}");
            after.sum(&name) - before.sum(&name)
        };
        grown("sum") * 1e3 / grown("count")
    };
    report::line(
        "… a batch: event → in the kernel; of that the kernel, means by the collector",
        format!(
            "{:.1} ms; {:.2} ms",
            mean("weir_policy_change_seconds"),
            mean("weir_policy_apply_seconds")
        ),
        "",
        Verdict::Reported,
    );
    let probe = Probe::new(stage);
    let rounds = length.pick(50, 5);
    let times = (0..rounds).flat_map(|_| probe.round()).collect();
    latency::report("… policy at the API → kernel map, meanwhile", times);
}
