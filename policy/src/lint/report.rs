//! Findings as text, JSON and SARIF 2.1.0.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::CODES;
use crate::manifest::{Diagnostic, Severity};

/// `file:line:column: severity: path: message`, a line each.
pub fn to_text(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| format!("{diagnostic} [{}]\n", diagnostic.code))
        .collect()
}

/// A JSON array.
pub fn to_json(diagnostics: &[Diagnostic]) -> Value {
    json!(diagnostics)
}

/// SARIF 2.1.0 (OASIS), as code scanning takes it.
pub fn to_sarif(diagnostics: &[Diagnostic]) -> Value {
    let codes: BTreeSet<&str> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| json!({"id": code, "shortDescription": {"text": describe(code)}}))
        .collect();
    let results: Vec<Value> = diagnostics.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "weir", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results,
        }],
    })
}

fn describe(code: &str) -> &str {
    CODES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("validation of the Kubernetes API", |(_, text)| text)
}

fn result(diagnostic: &Diagnostic) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let text = if diagnostic.path.is_empty() {
        diagnostic.message.clone()
    } else {
        format!("{}: {}", diagnostic.path, diagnostic.message)
    };
    json!({
        "ruleId": diagnostic.code,
        "level": level,
        "message": {"text": text},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": diagnostic.file},
                "region": {"startLine": diagnostic.line.max(1), "startColumn": diagnostic.column.max(1)},
            },
        }],
    })
}
