//! New flows at growing rates, and beyond the table's size: what is recorded in time, late, or lost.

use std::time::Duration;

use super::common::Length;
use super::common::collector::{Collector, Metrics};
use super::common::report::Verdict;
use super::frames::{Senders, Sent};
use super::stage::Stage;

/// As many pods as it takes to fill a table: each may hold a thirty-second part of it with unanswered flows.
const PODS: usize = 40;
/// Room for all flows of the curve.
const LARGE: u32 = 1 << 20;
/// Room for a quarter of the flows of the overflow.
const SMALL: u32 = 16_384;
/// New flows a second; the last, without a number, is as many as can be sent.
const RATES: [Option<u64>; 6] = [
    Some(1000),
    Some(5000),
    Some(20_000),
    Some(50_000),
    Some(100_000),
    None,
];
/// Frames at once, where there is no rate.
const AT_ONCE: u64 = 300_000;

/// What a collector says of new flows.
struct Told {
    started: u64,
    late: u64,
    lost: u64,
}

impl Told {
    fn of(metrics: &Metrics) -> Self {
        Self {
            started: metrics.count("weir_flows_total"),
            late: metrics.count("weir_ring_full_total{ring=\"flows\"}"),
            lost: metrics.count("weir_lost_packets_total"),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            started: self.started - before.started,
            late: self.late - before.late,
            lost: self.lost - before.lost,
        }
    }
}

pub(crate) fn run(length: Length) {
    println!(
        "\n| new flows/s | sent | recorded in time | late | lost | in loss records | collector, µs each | |\n\
         |---|---|---|---|---|---|---|---|"
    );
    let pods: Vec<String> = (0..PODS).map(|number| format!("sender-{number}")).collect();
    {
        let stage = Stage::new(&[("node", &pods)], "");
        let collector = stage.collector("node", LARGE);
        let mut senders = Senders::open(stage.cluster.pods());
        let time = Duration::from_millis(length.pick(2000, 500));
        for rate in RATES {
            let count = rate.map_or(AT_ONCE, |rate| rate * time.as_millis() as u64 / 1000);
            step(&collector, &mut senders, rate, count, Loss::None);
        }
    }
    let stage = Stage::new(&[("node", &pods)], "");
    let collector = stage.collector("node", SMALL);
    let mut senders = Senders::open(stage.cluster.pods());
    let count = u64::from(SMALL) * 4;
    step(&collector, &mut senders, Some(20_000), count, Loss::Exact);
}

/// What may be lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    /// What there is no room for; the loss records say how much.
    Exact,
}

fn step(
    collector: &Collector,
    senders: &mut Senders<'_>,
    rate: Option<u64>,
    count: u64,
    loss: Loss,
) {
    let before = Told::of(&collector.metrics());
    let cpu = collector.cpu();
    super::load::pin(0);
    let sent = senders.send(rate, count);
    let told = collector.settled(|metrics| {
        let told = Told::of(metrics).since(&before);
        told.started + told.lost >= count
    });
    let cpu = super::common::report::micros(collector.cpu() - cpu) / count as f64;
    row(&sent, &Told::of(&told).since(&before), cpu, loss);
}

fn row(sent: &Sent, told: &Told, cpu: f64, loss: Loss) {
    let Told {
        started,
        late,
        lost,
    } = *told;
    let frames = sent.frames;
    let missing = frames.abs_diff(started);
    let (name, holds) = match loss {
        Loss::None => (
            format!("{:.0}", sent.rate()),
            started == frames && lost == 0,
        ),
        Loss::Exact => (
            format!("{:.0}, 4 × the table", sent.rate()),
            missing == lost && lost > 0,
        ),
    };
    let share = |part: u64| part as f64 * 100.0 / frames as f64;
    println!(
        "| {name} | {frames} | {} ({:.1} %) | {late} ({:.1} %) | {missing} ({:.1} %) | {lost} | {cpu:.2} | {} |",
        started.saturating_sub(late),
        share(started.saturating_sub(late)),
        share(late),
        share(missing),
        Verdict::from(holds),
    );
}
