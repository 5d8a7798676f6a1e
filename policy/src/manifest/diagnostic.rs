//! What is wrong with a manifest, and where.

use std::fmt;

use serde::Serialize;

use super::yaml::Mark;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is refused.
    Error,
    /// It is taken; an experienced user would change it.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One finding. Displayed as `file:line:column: severity: path: message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable code, e.g. `unknown-field`.
    pub code: &'static str,
    /// The source's name.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based.
    pub column: usize,
    /// Field path, e.g. `spec.ingress[0].from[0]`; empty for a whole document.
    pub path: String,
    /// What is wrong, and what to do where that is not obvious.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}: ",
            self.file, self.line, self.column, self.severity
        )?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects the findings of one source.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    found: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            found: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        mark: Mark,
        path: &str,
        message: impl Into<String>,
    ) {
        self.found.push(Diagnostic {
            severity,
            code,
            file: self.file.clone(),
            line: mark.line,
            column: mark.column,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    pub(super) fn errors(&self) -> usize {
        self.found
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count()
    }

    pub(super) fn into_vec(mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by_key(|finding| (finding.line, finding.column));
        self.found
    }
}
