//! What `grafana/` asks for is what `/metrics` has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_collector::telemetry::Telemetry;

/// Labels by metric.
type Metrics = BTreeMap<String, BTreeSet<String>>;

/// The metrics of a collector that has seen a flow, a denial and a loss.
fn metrics() -> Metrics {
    let (telemetry, mut flows) = Telemetry::new();
    for item in weir_flow::samples::items() {
        flows.observe(&item);
    }
    let mut metrics = Metrics::new();
    for line in telemetry
        .render()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let end = line.find(['{', ' ']).expect("a value");
        let labels = metrics.entry(line[..end].to_owned()).or_default();
        if let Some((inside, _)) = line[end..].split_once('}') {
            labels.extend(before_equals(inside.trim_start_matches('{')));
        }
    }
    metrics
}

/// The names in `a="…",b=~"…"`.
fn before_equals(matchers: &str) -> impl Iterator<Item = String> + '_ {
    let mut parts = matchers.split('"').step_by(2); // what is in quotes may hold anything
    std::iter::from_fn(move || parts.next()).filter_map(|part| {
        let name = part
            .trim_start_matches(',')
            .trim_end_matches(['=', '~', '!']);
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// A file's texts that name a metric: expressions, queries of variables, table cells.
fn questions(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("readable");
    let mut found = Vec::new();
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        collect(&serde_json::from_str(&text).expect("JSON"), &mut found);
    } else {
        found.extend(text.split('`').map(str::to_owned));
    }
    found.retain(|text| text.contains("weir_"));
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        _ => {}
    }
}

/// The metrics that a question names.
fn named(question: &str) -> BTreeSet<&str> {
    let words = question.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("weir_")).collect()
}

/// The labels that a question names: matchers, groupings, and what a variable takes its values from.
fn labels(question: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for part in question.split('{').skip(1) {
        labels.extend(before_equals(part.split('}').next().unwrap_or_default()));
    }
    for part in question.split("by (").skip(1) {
        let group = part.split(')').next().unwrap_or_default();
        labels.extend(group.split(',').map(|label| label.trim().to_owned()));
    }
    if let Some(query) = question.strip_prefix("label_values(") {
        let label = query.trim_end_matches(')').rsplit(',').next();
        labels.extend(label.map(|label| label.trim().to_owned()));
    }
    labels
}

fn files() -> Vec<PathBuf> {
    let grafana = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana");
    let dashboards = fs::read_dir(grafana.join("dashboards")).expect("dashboards");
    let mut files: Vec<PathBuf> = dashboards
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.push(grafana.join("README.md"));
    files
}

#[test]
fn dashboards_ask_for_metrics_and_labels_that_there_are() {
    let metrics = metrics();
    for path in files() {
        let questions = questions(&path);
        assert!(!questions.is_empty(), "{} asks nothing", path.display());
        for question in questions {
            let named = named(&question);
            for metric in &named {
                assert!(
                    metrics.contains_key(*metric),
                    "{}: no metric {metric}, asked for in {question}",
                    path.display()
                );
            }
            for label in labels(&question) {
                assert!(
                    named.iter().all(|metric| metrics[*metric].contains(&label)),
                    "{}: no label {label} on {named:?}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn questions_are_taken_apart() {
    let question = r#"sum by (policy, direction) (rate(weir_a_total{namespace=~"$x",reason!="y,z=1"}[5m])) > weir_b"#;
    assert_eq!(named(question), BTreeSet::from(["weir_a_total", "weir_b"]));
    let labels: Vec<String> = labels(question).into_iter().collect();
    assert_eq!(labels, ["direction", "namespace", "policy", "reason"]);
    assert_eq!(
        self::labels("label_values(weir_a_total, policy)"),
        BTreeSet::from(["policy".to_owned()])
    );
}
