//! Every row of every case against the compiled policies; every denied row explained, and allowed by what is suggested.

use std::collections::BTreeSet;

use weir_policy::casefile::{self, Expect, ModelRun, Row};
use weir_policy::explain::{self, Explanation, Request};
use weir_policy::manifest;
use weir_policy::model::{Cluster, Object};
use weir_policy::tables::Reason;
use weir_testkit::cases::{self, CaseStep};

fn cluster(step: &CaseStep) -> Cluster {
    let loaded = manifest::load(step.manifests.clone());
    let errors: Vec<_> = loaded.errors().collect();
    assert!(errors.is_empty(), "{errors:?}");
    loaded.cluster
}

fn rows(step: &CaseStep) -> Vec<Row> {
    casefile::parse(&step.table, &step.expected).expect("a table")
}

#[test]
fn every_row_of_every_case_holds_in_the_model() {
    let (mut count, mut wrong) = (0, Vec::new());
    for case in cases::all() {
        let mut model = ModelRun::default();
        for step in &case.steps {
            model.step(cluster(step));
            for row in rows(step) {
                count += 1;
                let outcome = model.judge(&row).expect("parties that are there");
                if !outcome.passed() {
                    wrong.push(format!("{}:{}: {outcome:?}", step.table, row.line));
                }
            }
        }
    }
    println!("{count} rows");
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What a row asks, for `explain`.
fn request(row: &Row) -> Request {
    Request {
        from: row.from.clone(),
        to: row.to.clone(),
        protocol: row.protocol,
        port: row.port,
    }
}

/// The cluster with all suggestions in it.
fn with_suggestions(cluster: &Cluster, explanation: &Explanation) -> Cluster {
    let mut cluster = cluster.clone();
    for (_, pod, yaml) in explain::suggest(explanation) {
        let loaded = manifest::load([("suggestion.yaml", yaml)]);
        let findings: Vec<_> = loaded.errors().collect();
        assert!(findings.is_empty(), "for {pod}: {findings:?}\n{yaml}");
        for policy in loaded.cluster.policies.into_values() {
            cluster.upsert(Object::NetworkPolicy(policy));
        }
    }
    cluster
}

/// Why the explanation of a denied row is not what a user needs; `None` if it is.
fn shortcoming(cluster: &Cluster, row: &Row) -> Option<String> {
    let request = request(row);
    let explanation = match explain::explain(cluster, &request) {
        Ok(explanation) => explanation,
        Err(error) => return Some(error.to_string()),
    };
    if explanation.allowed {
        return Some("explained as allowed".to_owned());
    }
    let denying = || explanation.sides.iter().filter(|side| !side.allowed);
    if denying().any(|side| side.reason == Reason::NoBackends) {
        return None; // No clause decides that, and none would help.
    }
    let mut unnamed = denying().filter(|side| side.nearest_miss().is_none());
    if let Some(side) = unnamed.next() {
        return Some(format!("no clause is named: {side:?}"));
    }
    let repaired = with_suggestions(cluster, &explanation);
    let again = explain::explain(&repaired, &request).expect("the same parties");
    (!again.allowed).then(|| format!("still denied after {explanation:?}: {again:?}"))
}

#[test]
fn every_denied_row_is_explained_by_a_clause_and_allowed_by_its_suggestions() {
    let (mut count, mut wrong) = (0, BTreeSet::new());
    for case in cases::all() {
        for step in &case.steps {
            let cluster = cluster(step);
            for row in rows(step) {
                if row.verdict == Expect::Allow {
                    continue;
                }
                count += 1;
                if let Some(why) = shortcoming(&cluster, &row) {
                    wrong.insert(format!("{}:{}: {why}", step.table, row.line));
                }
            }
        }
    }
    println!("{count} denied rows");
    assert!(count > 0);
    let shown: Vec<_> = wrong.iter().take(10).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        shown.join("\n")
    );
}
