//! Our own cases are well-formed, refuse what they must, and are all in their index.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use weir_policy::casefile::{self, Expect};
use weir_policy::manifest::{self, Severity};

const FILES: [&str; 3] = ["cluster.yaml", "expected.csv", "policies.yaml"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("readable directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    let name = path.file_name().expect("a name");
    name.to_str().expect("a name in UTF-8").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The directories of each case: its own, or those of its steps in order.
fn states(case: &Path) -> Vec<PathBuf> {
    if case.join("expected.csv").exists() {
        return vec![case.to_owned()];
    }
    let steps = entries(case).len();
    (1..=steps)
        .map(|step| case.join(format!("step-{step}")))
        .collect()
}

fn cases_with_tables() -> impl Iterator<Item = PathBuf> {
    ["valid", "update"]
        .into_iter()
        .flat_map(|kind| entries(&root().join(kind)))
}

#[test]
fn every_state_is_three_files_that_are_read_without_errors() {
    for case in cases_with_tables() {
        for state in states(&case) {
            let there: Vec<String> = entries(&state).iter().map(|path| name(path)).collect();
            assert_eq!(there, FILES, "{}", state.display());
            let sources = ["cluster.yaml", "policies.yaml"].map(|file| state.join(file));
            let loaded =
                manifest::load(sources.map(|source| (source.display().to_string(), read(&source))));
            let errors: Vec<String> = loaded.errors().map(ToString::to_string).collect();
            assert!(errors.is_empty(), "{errors:#?}");
            assert!(!loaded.cluster.pods.is_empty(), "{}", state.display());
        }
    }
}

#[test]
fn every_case_has_rows_that_allow_and_rows_that_deny() {
    for case in cases_with_tables() {
        let mut verdicts = BTreeSet::new();
        for state in states(&case) {
            let table = state.join("expected.csv");
            let rows = casefile::parse(&table.display().to_string(), &read(&table));
            let rows = rows.unwrap_or_else(|error| panic!("{error}"));
            assert!(!rows.is_empty(), "{}", table.display());
            verdicts.extend(rows.iter().map(|row| row.verdict.as_str()));
        }
        let both = [Expect::Allow, Expect::Deny].map(Expect::as_str);
        assert_eq!(verdicts, BTreeSet::from(both), "{}", case.display());
    }
}

#[test]
fn every_invalid_manifest_is_refused_at_each_place_expected() {
    for file in entries(&root().join("invalid")) {
        if file.extension().is_none_or(|kind| kind != "yaml") {
            continue;
        }
        let parsed = manifest::parse(&file.display().to_string(), &read(&file));
        assert!(parsed.objects.is_empty(), "{} is accepted", file.display());
        for line in read(&file.with_extension("expected.txt")).lines() {
            let (place, _) = line.split_once(": ").expect("`place: reason`");
            let at_place = |found: &manifest::Diagnostic| match place.strip_prefix("line ") {
                Some(number) => found.line.to_string() == number,
                None => found.path == place,
            };
            let mut errors =
                (parsed.diagnostics.iter()).filter(|found| found.severity == Severity::Error);
            assert!(
                errors.any(at_place),
                "{}: expected {line}, got {:?}",
                file.display(),
                parsed.diagnostics
            );
        }
    }
}

/// Everything that the index may name: `valid/NAME`, `update/NAME`, `invalid/NAME`.
fn cases_there() -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    for kind in ["valid", "update", "invalid"] {
        for path in entries(&root().join(kind)) {
            let name = name(&path);
            let case = name
                .strip_suffix(".yaml")
                .or_else(|| name.strip_suffix(".expected.txt"))
                .unwrap_or(&name);
            there.insert(format!("{kind}/{case}"));
        }
    }
    there
}

#[test]
fn the_index_names_every_case_and_no_other() {
    let index = read(&root().join("README.md"));
    let kinds = ["valid/", "update/", "invalid/"];
    let named: BTreeSet<String> = index
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| kinds.iter().any(|kind| text.starts_with(kind)))
        .filter(|text| text.contains(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    let there = cases_there();
    let missing: Vec<_> = there.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty(), "not in the index: {missing:#?}");
    assert!(unknown.is_empty(), "only in the index: {unknown:#?}");
}
