//! `weir policy test`: the verdicts of a table against the compiled policies, and against the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use weir_collector::kernel_test::RowScripts;
use weir_policy::casefile::{ModelRun, ResolveError, Row, RowOutcome, SideOutcome};

use super::steps::{self, Step};
use crate::args::TestArgs;
use crate::output;

/// Input that no verdict can be had for.
const UNUSABLE: u8 = 2;

/// Runs the test: 0 if all rows hold, 1 if not, 2 if the input cannot be used.
///
/// # Errors
/// Standard output that cannot be written.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    match test(args) {
        Ok(report) => {
            output::text(&report.text)?;
            let passed = report.rows - report.failed.len();
            output::text(&format!(
                "{passed} passed, {} failed\n",
                report.failed.len()
            ))?;
            Ok(ExitCode::from(u8::from(!report.failed.is_empty())))
        }
        Err(error) => {
            output::error(&error);
            Ok(ExitCode::from(UNUSABLE))
        }
    }
}

/// Which row of which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowId {
    step: usize,
    row: usize,
}

/// What a test found.
#[derive(Default)]
struct Report {
    rows: usize,
    failed: BTreeSet<RowId>,
    text: String,
}

fn test(args: &TestArgs) -> anyhow::Result<Report> {
    let steps = match (&args.steps, &args.expect) {
        (Some(directory), _) => steps::sequence(directory)?,
        (None, Some(table)) => vec![steps::single(&args.files, table)?],
        (None, None) => anyhow::bail!("give --expect FILE, or --steps DIR"),
    };
    let mut model = ModelRun::default();
    let mut scripts = RowScripts::default();
    let mut report = Report::default();
    for (index, step) in steps.iter().enumerate() {
        for (node, update) in model.step(step.cluster.clone()) {
            scripts.step(&node, &node, &step.cluster, update);
        }
        in_model(&model, step, index, &mut scripts, &mut report)?;
    }
    if args.kernel {
        let (packets, mismatches) = scripts
            .run()
            .context("rows cannot be run through the kernel")?;
        for (id, mismatch) in mismatches {
            let step = &steps[id.step];
            report.failed.insert(id);
            let _infallible = writeln!(
                report.text,
                "{}: {mismatch}",
                place(step, &step.rows[id.row])
            );
        }
        let _infallible = writeln!(report.text, "{packets} packets through the kernel programs");
    }
    Ok(report)
}

fn in_model(
    model: &ModelRun,
    step: &Step,
    index: usize,
    scripts: &mut RowScripts<RowId>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (number, row) in step.rows.iter().enumerate() {
        let id = RowId {
            step: index,
            row: number,
        };
        let outcome = model
            .judge(row)
            .map_err(|error: ResolveError| anyhow::anyhow!("{}: {error}", step.table))?;
        report.rows += 1;
        if !outcome.passed() {
            report.failed.insert(id);
            report.text.push_str(&mismatch(step, &outcome));
        }
        for side in &outcome.sides {
            scripts.packet(&side.check.node, &side.check, id);
        }
    }
    Ok(())
}

fn place(step: &Step, row: &Row) -> String {
    let Row {
        line,
        from,
        to,
        protocol,
        port,
        ..
    } = row;
    let table = &step.table;
    format!(
        "{table}:{line}: {from} -> {to} {}/{port}",
        protocol.as_str()
    )
}

/// Expected and got, and why each side says so.
fn mismatch(step: &Step, outcome: &RowOutcome) -> String {
    let row = &outcome.row;
    let mut text = format!(
        "{}: expected ingress {} egress {}, got ingress {} egress {}\n",
        place(step, row),
        row.ingress.as_str(),
        row.egress.as_str(),
        outcome.ingress.as_str(),
        outcome.egress.as_str(),
    );
    // A row that holds for both address families says the same twice.
    let mut said = BTreeMap::new();
    for side in &outcome.sides {
        said.entry(why(side)).or_insert(());
    }
    for line in said.keys() {
        let _infallible = writeln!(text, "    {line}");
    }
    text
}

fn why(side: &SideOutcome) -> String {
    let verdict = if side.judgement.allowed {
        "allows"
    } else {
        "denies"
    };
    let direction = side.check.query.direction.as_str();
    let rule = match &side.rule {
        Some(rule) => format!("{direction}[{}] of {}", rule.index, rule.policy),
        None => side.judgement.reason.as_str().to_owned(),
    };
    let (pod, remote) = (&side.check.pod, side.check.query.remote);
    format!("{direction} of {pod} {verdict} {remote}: {rule}")
}
