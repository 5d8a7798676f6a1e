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

use std::process::ExitCode;

use common::{Length, asked, report};
use population::Scale;
use stage::Stage;

const SIZES: [usize; 2] = [10_000, 100_000];

fn main() -> ExitCode {
    let (length, sizes) = match asked(SIZES, size) {
        Ok(asked) => asked,
        Err(over) => return over,
    };
    for pods in sizes {
        run(&Scale::of(pods), length);
    }
    ExitCode::SUCCESS
}

fn size(word: &str) -> Result<usize, String> {
    let size = word.parse().ok().filter(|pods| *pods >= 1_000);
    size.ok_or_else(|| format!("`{word}`: there are --quick, and a number of pods from 1000 on"))
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
