//! The states that a policy test goes through: manifests and the verdicts that are expected in each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use weir_policy::casefile::{self, Row};
use weir_policy::manifest;
use weir_policy::model::Cluster;

use super::files;

/// The table of a step directory.
const TABLE: &str = "expected.csv";

/// One state.
pub(super) struct Step {
    /// The table's file, for messages.
    pub(super) table: String,
    /// What the manifests say.
    pub(super) cluster: Cluster,
    /// What must hold.
    pub(super) rows: Vec<Row>,
}

/// The one state of manifests and a table.
///
/// # Errors
/// Files that cannot be read, or have errors, with their places.
pub(super) fn single(manifests: &[PathBuf], table: &Path) -> anyhow::Result<Step> {
    let loaded = manifest::load(files::read(manifests)?);
    if loaded.has_errors() {
        let errors: Vec<String> = loaded.errors().map(ToString::to_string).collect();
        bail!("{}", errors.join("\n"));
    }
    let name = table.display().to_string();
    let text = fs::read_to_string(table).with_context(|| format!("cannot read {name}"))?;
    let rows = casefile::parse(&name, &text)?;
    if rows.is_empty() {
        bail!("{name} has no rows: nothing would be tested");
    }
    Ok(Step {
        table: name,
        cluster: loaded.cluster,
        rows,
    })
}

/// All `step-N` directories of a directory, in the order of their numbers.
///
/// # Errors
/// As [`single`]; a directory without steps.
pub(super) fn sequence(directory: &Path) -> anyhow::Result<Vec<Step>> {
    let shown = directory.display();
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {shown}"))?;
    let mut numbered = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {shown}"))?
            .path();
        if let Some(number) = number(&path) {
            numbered.push((number, path));
        }
    }
    if numbered.is_empty() {
        bail!("{shown} holds no step-1, step-2, ... directories");
    }
    numbered.sort();
    numbered
        .into_iter()
        .map(|(_, path)| single(std::slice::from_ref(&path), &path.join(TABLE)))
        .collect()
}

fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_prefix("step-")?.parse().ok()?;
    path.is_dir().then_some(number)
}
