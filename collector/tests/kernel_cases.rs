//! Every row of every case through the real programs, and while updates are under way, after every single map write.

mod common;

use std::sync::Arc;

use weir_collector::kernel_test::RowScripts;
use weir_policy::casefile::{self, ModelRun};
use weir_policy::manifest;
use weir_testkit::cases;

#[test]
fn kernel_every_row_of_every_case_holds_with_the_rule_that_the_model_names() {
    if common::skipped() {
        return;
    }
    let mut scripts = RowScripts::default();
    let (mut places, mut rows) = (Vec::new(), 0);
    for case in cases::all() {
        let mut model = ModelRun::default();
        for step in &case.steps {
            let loaded = manifest::load(step.manifests.clone());
            assert!(!loaded.has_errors(), "{}", case.name);
            // Nodes of all cases go one after the other through the same maps, which are emptied in between.
            let label = |node: &str| Arc::<str>::from(format!("{}/{node}", case.name));
            for (node, update) in model.step(loaded.cluster) {
                scripts.step(&label(&node), &node, model.cluster(), update);
            }
            for row in casefile::parse(&step.table, &step.expected).unwrap() {
                rows += 1;
                let outcome = model.judge(&row).unwrap();
                assert!(outcome.passed(), "{}:{}: {outcome:?}", step.table, row.line);
                for side in &outcome.sides {
                    scripts.packet(&label(&side.check.node), &side.check, places.len());
                }
                places.push(format!("{}:{}", step.table, row.line));
            }
        }
    }
    let (packets, mismatches) = scripts.run().unwrap();
    println!("{rows} rows, {packets} packets");
    let shown: Vec<String> = mismatches
        .iter()
        .take(10)
        .map(|(row, mismatch)| format!("{}: {mismatch}", places[*row]))
        .collect();
    assert!(
        mismatches.is_empty(),
        "{} wrong: {}",
        mismatches.len(),
        shown.join("\n")
    );
}
