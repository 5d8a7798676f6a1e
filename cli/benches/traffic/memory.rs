//! What living flows cost in memory, in the collector and in the kernel.

use super::common::Length;
use super::common::report::{self, Verdict};
use super::frames::Senders;
use super::stage::Stage;

const TABLE: u32 = 131_072;
const FLOWS: u64 = 100_000;
/// Each pod may hold a thirty-second part of the table with unanswered flows.
const PODS: usize = 40;

pub(crate) fn run(_length: Length) {
    let pods: Vec<String> = (0..PODS).map(|number| format!("sender-{number}")).collect();
    let stage = Stage::new(&[("node", &pods)], "");
    let collector = stage.collector("node", TABLE);
    let before = collector.memory();
    Senders::open(stage.cluster.pods()).send(Some(20_000), FLOWS);
    let metrics = collector.settled(|metrics| metrics.count("weir_flows_total") >= FLOWS);
    let after = collector.memory();
    let told = metrics.count("weir_flows_total");
    report::heading(&format!(
        "memory, {told} flows from {PODS} pods, table of {TABLE}"
    ));
    let line = |what: &str, bytes: u64| {
        let megabytes = format!("{:.1} MB", bytes as f64 / 1e6);
        report::line(what, megabytes, "", Verdict::Reported);
    };
    line("collector, no flows (RSS)", before.resident);
    line("collector, with the flows (RSS)", after.resident);
    let each = after.resident.saturating_sub(before.resident) * 100_000 / told.max(1);
    line("collector, 100,000 flows and the last records", each);
    line("kernel maps, whole before the first flow", before.maps);
    line("kernel maps, with the flows", after.maps);
}
