//! What the compiler costs: 10,000 pods in 500 label sets, 1,000 policies, 100 of the pods on the node compiled for.
//!
//! `cargo bench -p weir-policy`; prints a Markdown table. Times are medians.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: what fails ends it"
)]

mod cluster;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Scale, cluster, cover_block, pod, policy};
use weir_policy::compile::{Catalogue, Change, Compiler};
use weir_policy::model::{Cluster, Kind, Object};
use weir_policy::tables::Update;

/// Measurements of each line.
const ROUNDS: usize = 41;

fn main() {
    // `cargo bench` says so; `cargo test --all-targets` runs benches, too, and does not want their numbers.
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("--bench") => table(),
        Some("memory") => println!("{}", resident_after_compiling()),
        _ => println!("numbers come with `cargo bench -p weir-policy`"),
    }
}

fn table() {
    println!("| policy compiler | measured | limit | |\n|---|---|---|---|");
    let scale = Scale {
        pods: 10_000,
        label_sets: 500,
        policies: 1_000,
    };
    let whole = cluster(&scale);
    let mut full = Vec::new();
    let mut compiler = Compiler::new("node-0", Catalogue::default());
    for _ in 0..5 {
        compiler = Compiler::new("node-0", Catalogue::default());
        full.push(timed(|| compiler.apply(vec![Change::Replace(whole.clone())])).0);
    }
    line("full compile", median(full), Duration::from_secs(1));
    pods(&mut compiler, &scale);
    policies(&mut compiler, &whole);
    growth();
    memory();
}

fn pods(compiler: &mut Compiler, scale: &Scale) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut writes = 0;
    for round in 0..ROUNDS {
        // A pod elsewhere, with labels that others have, and with an IPv4 and an IPv6 address.
        let pod = Arc::new(pod(scale.pods + round, scale));
        let change = Change::Upsert(Object::Pod(pod.clone()));
        let (time, update) = timed(|| compiler.apply(vec![change]));
        added.push(time);
        writes = writes.max(update.writes().count());
        let change = Change::Remove(Kind::Pod, pod.name.clone());
        let (time, update) = timed(|| compiler.apply(vec![change]));
        removed.push(time);
        writes = writes.max(update.writes().count());
    }
    let limit = Duration::from_micros(100);
    line("one pod added, class known", median(added), limit);
    line("one pod removed", median(removed), limit);
    println!(
        "| map writes for a pod with two addresses | {writes} | 2 | {} |",
        verdict(writes <= 2)
    );
}

fn policies(compiler: &mut Compiler, whole: &Cluster) {
    let (mut changed, mut blocks) = (Vec::new(), Vec::new());
    for (number, (name, old)) in whole.policies.iter().enumerate() {
        let mut new = policy(number + 3);
        new.name = name.clone();
        new.pod_selector = old.pod_selector.clone();
        for object in [Arc::new(new), old.clone()] {
            let change = Change::Upsert(Object::NetworkPolicy(object));
            let (time, update) = timed(|| compiler.apply(vec![change]));
            // Policies for pods of other nodes cost nothing here.
            if !update.is_empty() {
                changed.push(time);
            }
        }
    }
    for round in 0..5 {
        let block = Arc::new(cover_block(round));
        let name = block.name.clone();
        let change = Change::Upsert(Object::NetworkPolicy(block));
        blocks.push(timed(|| compiler.apply(vec![change])).0);
        compiler.apply(vec![Change::Remove(Kind::NetworkPolicy, name)]);
    }
    let (count, worst) = (changed.len(), changed.iter().max().copied().unwrap());
    let limit = Duration::from_millis(20);
    let what = format!("one policy changed ({count} that concern the node)");
    line(&what, median(changed), limit);
    line("the worst of them", worst, limit);
    let time = median(blocks);
    println!("| a new CIDR that covers 2,500 pods | {time:.2?} | reported | |");
}

/// Kernel entries with many policies that all select the same pods.
fn growth() {
    let mut counts = Vec::new();
    for policies in [1, 10, 100, 1000] {
        let scale = Scale {
            pods: 1000,
            label_sets: 50,
            policies: 0,
        };
        let mut whole = cluster(&scale);
        for number in 0..policies {
            whole.upsert(Object::NetworkPolicy(Arc::new(cluster::same(number))));
        }
        let mut compiler = Compiler::new("node-0", Catalogue::default());
        compiler.apply(vec![Change::Replace(whole)]);
        let entries = compiler.tables().verdict_count();
        counts.push(entries);
    }
    let same = counts.iter().all(|count| *count == counts[0]);
    println!(
        "| verdict entries with 1, 10, 100, 1,000 policies that say the same of a pod | {counts:?} | equal | {} |",
        verdict(same)
    );
}

fn memory() {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).arg("memory").output().unwrap();
    let bytes: f64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    let megabytes = bytes / 1e6;
    println!(
        "| policy state at 100,000 pods (resident, compiler and tables) | {megabytes:.0} MB | 100 MB | {} |",
        verdict(megabytes < 100.0)
    );
}

/// What a process has grown by when 100,000 pods are compiled, object by object as they come from the API.
fn resident_after_compiling() -> u64 {
    let scale = Scale {
        pods: 100_000,
        label_sets: 500,
        policies: 1_000,
    };
    let without_pods = Scale { pods: 0, ..scale };
    let mut compiler = Compiler::new("node-0", Catalogue::default());
    let before = resident();
    compiler.apply(vec![Change::Replace(cluster(&without_pods))]);
    for number in 0..scale.pods {
        let pod = Object::Pod(Arc::new(pod(number, &scale)));
        let update: Update = compiler.apply(vec![Change::Upsert(pod)]);
        drop(update);
    }
    resident().saturating_sub(before)
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn line(what: &str, time: Duration, limit: Duration) {
    println!(
        "| {what} | {time:.2?} | {limit:?} | {} |",
        verdict(time < limit)
    );
}

fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "**missed**" }
}
