//! Manifests through the public reader: the shared cases, our own, and any bytes at all.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use weir_policy::manifest::{self, Severity};

fn shared_cases() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("readable directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The field path that an expectation names, if it begins with one: `spec.ingress[0].form: unknown field`.
fn expected_path(expected: &str) -> Option<&str> {
    let (path, _) = expected.split_once(": ")?;
    ((path.starts_with("spec") || path.starts_with("metadata")) && !path.contains(' '))
        .then_some(path)
}

#[test]
fn every_invalid_shared_case_is_refused_at_its_field() {
    let Some(cases) = shared_cases() else { return };
    let mut seen = 0;
    for file in yaml_files(&cases.join("invalid")) {
        let text = fs::read_to_string(&file).expect("readable");
        let expected =
            fs::read_to_string(file.with_extension("expected.txt")).expect("expectation");
        let parsed = manifest::parse(&file.display().to_string(), &text);
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .collect();
        assert!(
            !errors.is_empty(),
            "{} is accepted; expected {expected}",
            file.display()
        );
        if let Some(path) = expected_path(&expected) {
            // `ports[0..2]` stands for three findings.
            let path = path.split("[0..2]").next().unwrap_or(path);
            let named = errors.iter().any(|error| error.path.starts_with(path));
            assert!(named, "{}: expected {path}, got {errors:?}", file.display());
        }
        for error in errors {
            let line = text.lines().nth(error.line - 1).unwrap_or_default();
            let last = error.path.rsplit('.').next().unwrap_or_default();
            let key = last.split('[').next().unwrap_or_default();
            // A label is on a line of its own below `matchLabels`, a missing field on none.
            let on_the_line = line.contains(key)
                || last.contains('[')
                || matches!(error.code, "required" | "invalid-label" | "exactly-one");
            assert!(
                on_the_line,
                "{}:{}: {} is not on `{line}`",
                file.display(),
                error.line,
                error.path
            );
        }
        seen += 1;
    }
    assert!(seen > 40, "only {seen} cases were there");
}

#[test]
fn every_valid_shared_case_is_accepted() {
    let Some(cases) = shared_cases() else { return };
    for dir in ["valid", "update"] {
        for file in yaml_files(&cases.join(dir)) {
            let text = fs::read_to_string(&file).expect("readable");
            let parsed = manifest::parse(&file.display().to_string(), &text);
            let errors: Vec<String> = parsed
                .diagnostics
                .iter()
                .filter(|found| found.severity == Severity::Error)
                .map(ToString::to_string)
                .collect();
            assert!(errors.is_empty(), "{errors:#?}");
            let has_content = text
                .lines()
                .any(|line| !line.trim().is_empty() && !line.starts_with('#'));
            assert_eq!(
                !parsed.objects.is_empty(),
                has_content,
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn a_finding_names_file_line_column_and_field() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\nspec:\n  podSelector: {}\n  ingress:\n    - form:\n        - podSelector: {}\n      ports:\n        - port: 0\n";
    let parsed = manifest::parse("p.yaml", text);
    let lines: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "p.yaml:8:7: error: spec.ingress[0].form: unknown field; did you mean from?",
            "p.yaml:11:17: error: spec.ingress[0].ports[0].port: 0 must be between 1 and 65535",
        ]
    );
    assert!(parsed.objects.is_empty());
}

#[test]
fn of_two_documents_with_one_name_the_last_wins() {
    let policy = |port: u16| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}\n"
        )
    };
    let loaded = manifest::load([("a.yaml", policy(80)), ("b.yaml", policy(81))]);
    assert_eq!(loaded.cluster.policies.len(), 1);
    assert!(
        loaded.diagnostics[0]
            .to_string()
            .contains("replaces the one at a.yaml:1")
    );
}

#[test]
fn lists_and_json_are_read_and_unused_kinds_noted() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}]}"#;
    let parsed = manifest::parse("list.json", text);
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(parsed.diagnostics[0].severity, Severity::Note);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,400}") {
        manifest::parse("any", &text);
    }

    #[test]
    fn no_mutation_of_a_policy_makes_the_reader_panic(cut in 0usize..900, insert in "[ \\n\\t:\\-{}\\[\\]&*!|>'\"%@`#?,0-9a-zA-Z]{0,12}") {
        let text = include_str!("data/three-tier.yaml");
        let at = text.char_indices().map(|(index, _)| index).nth(cut.min(text.len() - 1)).unwrap_or(0);
        let (head, tail) = text.split_at(at);
        manifest::parse("mutated", &format!("{head}{insert}{tail}"));
        manifest::parse("cut", &format!("{head}{}", tail.get(insert.len()..).unwrap_or_default()));
    }
}
