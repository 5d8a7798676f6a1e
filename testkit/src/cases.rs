//! Tables of policy cases on disk, as text: `valid/NAME/{*.yaml,expected.csv}` and `update/NAME/step-K/...`.
//!
//! The project's own are in `policy/cases`; more may lie beside the checkout in `shared/cases`.

use std::fs;
use std::path::{Path, PathBuf};

/// One case: states that follow one another.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its directory's name, after that of its table.
    pub name: String,
    /// One state, or several.
    pub steps: Vec<CaseStep>,
}

/// One state of a case.
#[derive(Clone, Debug)]
pub struct CaseStep {
    /// Manifest files: name and text.
    pub manifests: Vec<(String, String)>,
    /// The table's path, for messages.
    pub table: String,
    /// Its text.
    pub expected: String,
}

/// All directories of cases that are there. Says which are not.
pub fn roots() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let roots = [
        workspace.join("policy/cases"),
        workspace.join("../shared/cases"),
    ];
    let there = |root: &PathBuf| {
        let there = root.is_dir();
        if !there {
            eprintln!("skipped: {} is not there", root.display());
        }
        there
    };
    roots.into_iter().filter(there).collect()
}

/// All cases with a table, in the order of their names.
///
/// # Panics
/// If a file cannot be read: a test cannot go on without.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for root in roots() {
        for directory in directories(&root.join("valid")) {
            cases.push(Case {
                name: name(&root, &directory),
                steps: vec![step(&directory)],
            });
        }
        for directory in directories(&root.join("update")) {
            let mut steps = directories(&directory);
            steps.sort_by_key(|step| step_number(step));
            cases.push(Case {
                name: name(&root, &directory),
                steps: steps.iter().map(|step| self::step(step)).collect(),
            });
        }
    }
    cases
}

fn name(root: &Path, directory: &Path) -> String {
    let below = directory.strip_prefix(root).unwrap_or(directory);
    let table = if root.ends_with("policy/cases") {
        "own"
    } else {
        "shared"
    };
    format!("{table}/{}", below.display())
}

fn step_number(directory: &Path) -> Option<u32> {
    let name = directory.file_name()?.to_str()?;
    name.strip_prefix("step-")?.parse().ok()
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(of).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn entries(of: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn step(directory: &Path) -> CaseStep {
    let mut files: Vec<PathBuf> = entries(directory)
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .collect();
    files.sort();
    let table = directory.join("expected.csv");
    CaseStep {
        manifests: files.iter().map(|file| named(file)).collect(),
        expected: named(&table).1,
        table: table.display().to_string(),
    }
}

fn named(file: &Path) -> (String, String) {
    let text = fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    (file.display().to_string(), text)
}
