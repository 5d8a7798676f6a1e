//! Label selectors: `app=web`, `app!=web`, `app in (web, db)`, `app notin (web)`, `app`, `!app`, joined by commas.
//!
//! A key may bear a source, `k8s:app` or `reserved:world`; without one, or with `any:`, every source matches.

use super::FilterError;
use crate::Endpoint;
use crate::hubble::{Label, labels};

/// A selector: all requirements have to hold.
#[derive(Clone, Debug)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug)]
struct Requirement {
    source: Option<String>,
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// As in Kubernetes: holds also if the key is absent.
    NotIn(Vec<String>),
}

impl Selector {
    pub(super) fn parse(field: &'static str, text: &str) -> Result<Self, FilterError> {
        let parts = split(text).and_then(|parts| parts.into_iter().map(requirement).collect());
        parts.map(Self).ok_or_else(|| FilterError::Value {
            field,
            value: text.to_owned(),
            expected: "a label selector like app=web, app!=web, app in (a, b), app, !app",
        })
    }

    pub(super) fn matches(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().all(|requirement| {
            let mut found = labels(endpoint).filter(|label| requirement.is_key(label));
            match &requirement.test {
                Test::Exists => found.next().is_some(),
                Test::Absent => found.next().is_none(),
                Test::In(values) => found.any(|label| values.iter().any(|v| *v == label.value)),
                Test::NotIn(values) => !found.any(|label| values.iter().any(|v| *v == label.value)),
            }
        })
    }
}

impl Requirement {
    fn is_key(&self, label: &Label<'_>) -> bool {
        self.key == label.key
            && self
                .source
                .as_deref()
                .is_none_or(|source| source == label.source)
    }
}

/// Splits at commas outside parentheses; `None` if the parentheses do not match.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return None,
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!inside).then_some(parts)
}

fn requirement(text: &str) -> Option<Requirement> {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        return requirement_of(key, Test::Absent);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return requirement_of(key, Test::NotIn(vec![one(value)?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return requirement_of(key, Test::In(vec![one(value)?]));
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let values: Option<Vec<_>> = list.split(',').map(one).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => requirement_of(key, Test::In(values?)),
            "notin" => requirement_of(key, Test::NotIn(values?)),
            _ => None,
        };
    }
    requirement_of(text, Test::Exists)
}

fn one(value: &str) -> Option<String> {
    let value = value.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    value.chars().all(valid).then(|| value.to_owned())
}

fn requirement_of(key: &str, test: Test) -> Option<Requirement> {
    let key = key.trim();
    let (source, key) = match key.split_once(':') {
        Some((source, key)) => (Some(source), key),
        None => (None, key),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(valid) {
        return None;
    }
    Some(Requirement {
        source: source.filter(|source| *source != "any").map(str::to_owned),
        key: key.to_owned(),
        test,
    })
}
