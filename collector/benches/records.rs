//! What a record costs in user space: 10,000 pods, random endpoints, random peers.
//!
//! `cargo bench -p weir-collector --bench records`; prints a Markdown table. Times are CPU time, medians over
//! batches as large as a ring; allocations are counted over all of them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: what fails ends it"
)]

mod node;

use std::time::Duration;

use allocation_counter::measure;
use nix::time::{ClockId, clock_gettime};
use node::{CLOCK, Question, Remembered};
use weir_collector::assemble::{Assembler, EntryKey, Pressure, WallClock};
use weir_collector::pipeline::Sinks;
use weir_collector::recent::Recent;
use weir_collector::telemetry::Telemetry;
use weir_datapath::abi::{Event, Flow};
use weir_flow::{EndReason, Item};

/// Events of a batch: as many as the pipeline takes from a ring at a time.
const BATCH: usize = 16_384;
/// Measurements of each line.
const ROUNDS: usize = 41;
/// Entries of a sweep.
const LIVING: usize = 100_000;
/// The promise: from a ring's event to the named record.
const LIMIT_NS: f64 = 150.0;

fn main() {
    // `cargo test --all-targets` runs benches, too, and does not want their numbers.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    println!("| records | measured | limit | |\n|---|---|---|---|");
    let mut bench = Bench::new();
    bench.events();
    bench.sweeps();
    bench.delivery();
}

struct Bench {
    random: fastrand::Rng,
    asked: Vec<Question>,
    assembler: Assembler,
    items: Vec<Item>,
    serial: u64,
}

/// What the batches of one line have cost.
#[derive(Default)]
struct Cost {
    ns_each: Vec<f64>,
    events: usize,
    allocations: u64,
}

impl Cost {
    /// Measures one batch of `events`; `work` says how many records it made.
    fn add(&mut self, events: usize, work: impl FnOnce() -> usize) {
        let (mut records, mut time) = (0, Duration::ZERO);
        let counted = measure(|| {
            let began = cpu_time();
            records = work();
            time = cpu_time() - began;
        });
        self.ns_each
            .push(time.as_nanos() as f64 / records.max(1) as f64);
        self.events += events;
        self.allocations += counted.count_total;
    }

    fn ns(&mut self) -> f64 {
        self.ns_each.sort_by(f64::total_cmp);
        self.ns_each[self.ns_each.len() / 2]
    }

    fn allocations_each(&self) -> f64 {
        self.allocations as f64 / self.events as f64
    }
}

impl Bench {
    fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(4);
        let (misses, asked) = Remembered::new(&mut random);
        Self {
            assembler: node::assembler(node::names(), misses),
            random,
            asked,
            items: Vec::with_capacity(2 * LIVING),
            serial: 0,
        }
    }

    /// Doorbells: of flows, of denials, and mixed as a busy node's ring has them.
    fn events(&mut self) {
        let lines: [(&str, [u32; 2]); 3] = [
            ("first record of a flow", [100, 0]),
            ("first record of a denial", [0, 100]),
            (
                "ring of 60 % started, 20 % ended, 20 % denied; a record",
                [60, 20],
            ),
        ];
        for (what, [started, denied]) in lines {
            let mut cost = Cost::default();
            for round in 0..ROUNDS {
                let events = self.ring(started, denied);
                cost.add(events.len(), || self.assemble(&events));
                // As many flows live as a sweep of the default table would meet.
                if round % 6 == 5 {
                    self.forget();
                }
            }
            self.forget();
            let ns = cost.ns();
            println!(
                "| {what} | {ns:.0} ns | {LIMIT_NS} ns | {} |",
                verdict(ns <= LIMIT_NS)
            );
            let each = cost.allocations_each();
            println!(
                "| allocations an event | {each:.4} ({} in {}) | 0 | {} |",
                cost.allocations,
                cost.events,
                verdict(cost.allocations == 0)
            );
        }
    }

    /// The table's way: 100,000 living flows without news, with news, and at their end.
    fn sweeps(&mut self) {
        let (mut first, mut quiet) = (Cost::default(), Cost::default());
        let (mut grown, mut last) = (Cost::default(), Cost::default());
        for _ in 0..7 {
            self.serial += LIVING as u64;
            let mut entries: Vec<(EntryKey, Flow)> = (0..LIVING as u64)
                .map(|n| node::entry(&node::started(&mut self.random, self.serial + n)))
                .collect();
            // A hash table's order, not that of the flows' beginnings.
            self.random.shuffle(&mut entries);
            self.items.clear();
            first.add(LIVING, || self.sweep(&entries, &CLOCK));
            self.random.shuffle(&mut entries);
            quiet.add(LIVING, || {
                self.sweep(&entries, &CLOCK);
                LIVING
            });
            for (_, flow) in &mut entries {
                flow.egress.packets += 10;
                flow.egress.bytes += 4_000;
            }
            let later = WallClock {
                wall_ns: CLOCK.wall_ns + 20_000_000_000,
                monotonic_ns: CLOCK.monotonic_ns + 20_000_000_000,
                ..CLOCK
            };
            self.items.clear();
            grown.add(LIVING, || self.sweep(&entries, &later));
            self.items.clear();
            last.add(LIVING, || self.retire(&entries, &later));
        }
        let lines = [
            ("sweep, flow whose doorbell was lost; a record", first),
            ("sweep, flow without news; an entry", quiet),
            ("sweep, flow whose counts grew; a record", grown),
            ("last reading; a record", last),
        ];
        for (what, cost) in lines {
            report(what, cost);
        }
    }

    /// From a turn's records to the recent store, full, and the metrics.
    fn delivery(&mut self) {
        let (_telemetry, metrics) = Telemetry::new();
        let mut sinks = Sinks {
            recent: Recent::new(65_536),
            metrics,
            otlp: None,
            uplink: None,
        };
        let mut cost = Cost::default();
        let mut stored = Cost::default();
        let recent = Recent::new(65_536);
        for round in 0..ROUNDS {
            for _ in 0..2 {
                let events = self.ring(60, 20);
                self.assemble(&events);
                let records = self.items.len();
                match self.serial % 2 {
                    _ if round % 2 == 0 => cost.add(records, || {
                        sinks.deliver(&mut self.items);
                        records
                    }),
                    _ => stored.add(records, || {
                        recent.append(self.items.drain(..).map(std::sync::Arc::new));
                        records
                    }),
                }
            }
            self.forget();
        }
        report("delivery into the recent store; a record", stored);
        report("delivery into the recent store and metrics; a record", cost);
    }

    /// A ring's content, with shares in percent; the rest has ended.
    fn ring(&mut self, started: u32, denied: u32) -> Vec<Event> {
        self.items.clear();
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        while events.len() < BATCH {
            self.serial += 1;
            let random = &mut self.random;
            let dice = random.u32(..100);
            let event = if dice < started || events.is_empty() {
                node::started(random, self.serial)
            } else if dice < started + denied {
                node::denied(random, &self.asked, self.serial)
            } else {
                node::ended(&events[random.usize(..events.len())])
            };
            events.push(event);
        }
        events
    }

    fn assemble(&mut self, events: &[Event]) -> usize {
        self.assembler.events(events, &CLOCK, &mut self.items);
        self.items.len()
    }

    fn sweep(&mut self, entries: &[(EntryKey, Flow)], clock: &WallClock) -> usize {
        let items = &mut self.items;
        self.assembler.begin_sweep();
        for (key, flow) in entries {
            self.assembler
                .flow(key, flow, clock, Pressure::Normal, &mut |item| {
                    items.push(item)
                });
        }
        items.len()
    }

    fn retire(&mut self, entries: &[(EntryKey, Flow)], clock: &WallClock) -> usize {
        let items = &mut self.items;
        for (key, flow) in entries {
            self.assembler
                .retired_flow(key, flow, EndReason::Fin, clock, &mut |item| {
                    items.push(item)
                });
        }
        items.len()
    }

    /// Sweeps of empty tables: every flow is forgotten.
    fn forget(&mut self) {
        for _ in 0..4 {
            self.assembler.begin_sweep();
        }
        assert_eq!(self.assembler.tracked(), 0);
    }
}

/// What this thread has used of a core: others may want it, too.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

fn report(what: &str, mut cost: Cost) {
    let (ns, allocations) = (cost.ns(), cost.allocations_each());
    println!("| {what} | {ns:.0} ns, {allocations:.4} allocations | reported | |");
}

fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "**missed**" }
}
