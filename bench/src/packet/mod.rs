//! What a packet costs: ns by `BPF_PROG_TEST_RUN`, all programs in turn, round after round, medians. Every mode has its
//! own two floors, measured in the same rounds: the kernel's loop alone is a good part of a plain packet's figure, and
//! the wrapper that makes packets differ is another.

mod floors;
mod frames;
mod lines;
mod stage;
mod weir;

use anyhow::{Context, Result, ensure};

use crate::table::Table;
use crate::{Effort, machine};
use lines::{Limit, Line, Subject};
use stage::{Mode, Port, Stage};

/// Rounds that are not counted: caches, branch predictors, flags of flows.
const WARM_UP: u64 = 2;

fn rounds(effort: Effort) -> u64 {
    match effort {
        Effort::Quick => 5,
        Effort::Full => 61,
    }
}

/// Measures every line whose name contains `only`, and prints them.
///
/// # Errors
///
/// Without the kernel objects, or if a program does something else than was to be measured.
pub(crate) fn run(effort: Effort, only: &str) -> Result<()> {
    machine::pin()?;
    let (floors, weir) = (machine::object("bench.o")?, machine::object("weir.o")?);
    let mut lines = lines::all()?;
    lines.retain(|line| !matches!(line.subject, Subject::Weir(_)) || line.name.contains(only));
    let mut stages = Vec::new();
    for mode in [Mode::Same, Mode::Many, Mode::New(Port::Source)] {
        stages.push(Stage::load(mode, &floors, &weir)?);
    }
    for number in 0..WARM_UP + rounds(effort) {
        for line in &mut lines {
            let stage = stages
                .iter_mut()
                .find(|stage| stage.mode().is_like(line.mode))
                .context("every mode has a stage")?;
            let ns = stage.round(line, number)?;
            if number >= WARM_UP {
                line.samples.push(ns);
            }
        }
    }
    for stage in &mut stages {
        stage.check_standing()?;
    }
    print(effort, &lines)
}

fn print(effort: Effort, lines: &[Line]) -> Result<()> {
    println!("\n### ns per packet\n");
    println!(
        "`cargo xtask bench packet`, one line: `cargo xtask bench packet --line TEXT`. BPF_PROG_TEST_RUN, {} rounds in \
         turn; ratios of medians, to the empty program and the floor of the same mode.\n",
        rounds(effort)
    );
    let mut table = Table::new(&[
        "packet", "ns", "5–95 %", "net ns", "× empty", "× floor", "limit", "holds",
    ]);
    for line in lines {
        let (empty, floor) = (
            reference(lines, line.mode, Subject::Empty)?,
            reference(lines, line.mode, Subject::Floor)?,
        );
        let ns = line.samples.median();
        let (by_empty, by_floor) = (ns / empty, ns / floor);
        table.row([
            line.name.clone(),
            format!("{ns:.0}"),
            format!(
                "{:.0}–{:.0}",
                line.samples.quantile(0.05),
                line.samples.quantile(0.95)
            ),
            format!("{:.0}", ns - empty),
            format!("{by_empty:.2}"),
            format!("{by_floor:.2}"),
            limit(&line.limit),
            holds(&line.limit, by_empty, by_floor).to_owned(),
        ]);
    }
    println!("{table}");
    println!("The floor:\n\n```rust\n{}```", floors::SOURCE);
    Ok(())
}

/// The median of a floor in the same mode.
fn reference(lines: &[Line], mode: Mode, subject: Subject) -> Result<f64> {
    let found = lines
        .iter()
        .find(|line| line.mode.is_like(mode) && line.subject == subject);
    let median = found.context("every mode has floors")?.samples.median();
    ensure!(median > 0.0, "a floor took no time");
    Ok(median)
}

fn limit(limit: &Limit) -> String {
    let part = |times: Option<f64>, what| times.map(|times| format!("{times} × {what}"));
    let parts = [part(limit.empty, "empty"), part(limit.floor, "floor")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn holds(limit: &Limit, by_empty: f64, by_floor: f64) -> &'static str {
    if limit.empty.is_none() && limit.floor.is_none() {
        return "";
    }
    let within = |times: f64, most: Option<f64>| most.is_none_or(|most| times <= most);
    if within(by_empty, limit.empty) && within(by_floor, limit.floor) {
        "yes"
    } else {
        "NO"
    }
}
