//! Memory, and what it costs to do nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::common::Length;
use super::common::collector::Collector;
use super::common::report::{self, Verdict};
use super::stage::Stage;

/// After so long the first state is in force, and what was needed for it is freed.
const SETTLED: Duration = Duration::from_secs(10);
const IDLE_LIMIT: f64 = 0.05;

/// What a collector may have resident, in megabytes.
fn limit(pods: usize) -> f64 {
    if pods <= 10_000 { 120.0 } else { 250.0 }
}

/// Memory once all is settled.
pub(crate) fn memory(stage: &Stage) {
    sleep(SETTLED);
    resident(stage, "memory: resident");
    let memory = stage.collector.memory();
    let line = |what: &str, bytes: u64| {
        report::line(what, megabytes(bytes), "", Verdict::Reported);
    };
    line("memory: of that heap and stacks", memory.anonymous);
    line("memory: most since the start", memory.peak);
    line("memory: kernel maps", memory.maps);
}

/// Memory now.
pub(crate) fn resident(stage: &Stage, what: &str) {
    let limit = limit(stage.scale.pods);
    let resident = stage.collector.memory().resident;
    let holds = resident as f64 / 1e6 <= limit;
    report::line(
        what,
        megabytes(resident),
        &format!("{limit:.0} MB"),
        holds.into(),
    );
}

/// Processor time while nothing happens.
pub(crate) fn idle(stage: &Stage, length: Length) {
    let time = length.pick(Duration::from_secs(30), Duration::from_secs(5));
    let cores = cores(&stage.collector, || sleep(time));
    let holds = cores <= IDLE_LIMIT;
    report::line(
        "idle, of a core",
        format!("{cores:.4}"),
        "0.05",
        holds.into(),
    );
}

/// How much of a core the collector uses meanwhile.
pub(crate) fn cores(collector: &Collector, meanwhile: impl FnOnce()) -> f64 {
    let (cpu, began) = (collector.cpu_of_all(), Instant::now());
    meanwhile();
    (collector.cpu_of_all() - cpu).as_secs_f64() / began.elapsed().as_secs_f64()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
