//! What following a large cluster costs: the release binary on a node of 100 pods, and an API server with all the others.
//!
//! `cargo bench -p weir-cli --bench kube`; prints a Markdown table for each size. `-- --quick` for a short run, and a
//! number of pods for that size alone. Needs root, and two cores that do nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: what fails ends it"
)]

mod churn;
#[path = "../common/mod.rs"]
mod common;
mod cost;
mod latency;
mod objects;
mod policies;
mod population;
mod stage;
mod starts;

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use common::Length;
use common::report;
use population::Scale;
use stage::Stage;

const SIZES: [usize; 2] = [10_000, 100_000];

fn main() -> ExitCode {
    let mut length = Length::Full;
    let mut sizes: Vec<usize> = Vec::new();
    // `cargo test --all-targets` runs benches, too, and does not want their numbers.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--bench" => {}
            "--quick" => length = Length::Quick,
            number => match number.parse() {
                Ok(pods) if pods >= 1_000 => sizes.push(pods),
                _ => {
                    eprintln!("`{number}`: there are --quick, and a number of pods from 1000 on");
                    return ExitCode::FAILURE;
                }
            },
        }
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: needs root for network namespaces and eBPF");
        return ExitCode::SUCCESS;
    }
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    for pods in sizes {
        run(&Scale::of(pods), length);
    }
    ExitCode::SUCCESS
}

fn run(scale: &Scale, length: Length) {
    let mut stage = Stage::new(scale);
    report::heading(&format!(
        "{} pods of {} bytes, {} on the node; {} namespaces, {} nodes, {} Services, {} policies",
        scale.pods,
        stage.pod_bytes,
        population::LOCAL,
        scale.namespaces,
        scale.nodes,
        scale.services(),
        population::POLICIES,
    ));
    cost::memory(&stage);
    cost::idle(&stage, length);
    latency::run(&stage, length);
    churn::run(&stage, length);
    starts::run(&mut stage, length);
}
