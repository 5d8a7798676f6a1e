//! `cargo xtask lint`: the house rules that neither rustfmt nor clippy checks.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::{DirEntry, WalkDir};

use crate::workspace;

/// A file that needs more has more than one responsibility.
const MAX_LINES: usize = 500;

/// Work that was left open. Spelled in two parts, so that this file passes its own check.
const UNFINISHED: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// A broken rule, and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: PathBuf,
    line: usize,
    rule: Rule,
}

#[derive(Debug, PartialEq, Eq)]
enum Rule {
    TooLong { lines: usize },
    NoModuleDoc,
    Unfinished { mark: &'static str },
}

/// Checks every file of ours; fails if one breaks a rule.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut checked = 0_usize;
    let mut findings = Vec::new();
    for entry in WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(is_ours)
    {
        let entry = entry.context("walking the source tree")?;
        let path = entry.path();
        if !entry.file_type().is_file() || !is_text(path) {
            continue;
        }
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        findings.extend(check(path.strip_prefix(root).unwrap_or(path), &text));
        checked += 1;
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {checked} files", findings.len());
    }
    println!("house rules: {checked} files, no findings");
    Ok(())
}

/// Not build output, hidden directories or other people's code.
fn is_ours(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let hidden = name.starts_with('.') && name != ".ci" && entry.depth() > 0;
    !hidden && !matches!(&*name, "target" | "node_modules" | "vendor" | "generated")
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("rs" | "toml" | "yaml" | "yml" | "sh" | "md") => true,
        Some(_) => false,
        None => {
            path.ends_with("Makefile")
                || path
                    .parent()
                    .and_then(Path::file_name)
                    .is_some_and(|dir| dir == ".ci")
        }
    }
}

fn check(path: &Path, text: &str) -> Vec<Finding> {
    let finding = |line, rule| Finding {
        path: path.to_owned(),
        line,
        rule,
    };
    let mut findings = Vec::new();
    if path.extension().is_some_and(|extension| extension == "rs") {
        let lines = text.lines().count();
        if lines > MAX_LINES && !is_test(path) {
            findings.push(finding(lines, Rule::TooLong { lines }));
        }
        if !text.starts_with("//!") {
            findings.push(finding(1, Rule::NoModuleDoc));
        }
    }
    for (number, line) in text.lines().enumerate() {
        let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_');
        let marks = UNFINISHED
            .into_iter()
            .filter(|mark| words().any(|word| word == *mark));
        findings.extend(marks.map(|mark| finding(number + 1, Rule::Unfinished { mark })));
    }
    findings
}

/// Tests may be long: a table of cases is read row by row.
fn is_test(path: &Path) -> bool {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    stem == "tests"
        || stem.ends_with("_tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

// === impl Finding, Rule ===

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { lines } => write!(
                f,
                "{lines} lines, more than {MAX_LINES}: split it by responsibility"
            ),
            Self::NoModuleDoc => {
                f.write_str("does not begin with a module doc (//!): what it owns, and what not")
            }
            Self::Unfinished { mark } => write!(f, "{mark}: finish it, or write an issue"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<Rule> {
        check(Path::new(path), text)
            .into_iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn a_file_over_the_budget_is_a_finding_unless_it_holds_tests() {
        let long = "//! Long.\n".repeat(MAX_LINES + 1);
        assert_eq!(
            rules("flow/src/a.rs", &long),
            [Rule::TooLong {
                lines: MAX_LINES + 1
            }]
        );
        assert_eq!(rules("flow/src/a.rs", &"//! Long.\n".repeat(MAX_LINES)), []);
        assert_eq!(rules("flow/src/a/tests.rs", &long), []);
        assert_eq!(rules("flow/tests/a.rs", &long), []);
    }

    #[test]
    fn a_source_file_begins_with_its_doc() {
        assert_eq!(
            rules("flow/src/a.rs", "use std::fmt;\n"),
            [Rule::NoModuleDoc]
        );
        assert_eq!(rules("Makefile", "all:\n"), []);
    }

    #[test]
    fn unfinished_marks_are_found_as_words_with_their_line() {
        let mark = UNFINISHED[1];
        let text = format!("//! A.\n// {mark}: later\nlet {mark}S = 1;\n");
        assert_eq!(
            check(Path::new("a.rs"), &text),
            [Finding {
                path: "a.rs".into(),
                line: 2,
                rule: Rule::Unfinished { mark }
            }]
        );
    }
}
