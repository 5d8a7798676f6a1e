//! Typed reading of a tree: every access that does not fit says so, with the field's path and place.

use super::diagnostic::{Findings, Severity};
use super::yaml::{Entry, Mark, Node, Value};

/// A value, its path, and the place that a finding about it names.
#[derive(Clone, Debug)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
    pub(super) mark: Mark,
}

/// The fields of an object.
#[derive(Clone, Debug)]
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    pub(super) path: String,
    pub(super) mark: Mark,
}

/// Whether fields that nobody reads are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// An error: dropping it could widen a policy.
    Refuse,
    /// Passed over: real objects have many fields that Weir does not read.
    Ignore,
}

impl<'n> At<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            node,
            path: String::new(),
            mark: node.mark,
        }
    }

    pub(super) fn error(
        &self,
        findings: &mut Findings,
        code: &'static str,
        message: impl Into<String>,
    ) {
        findings.add(Severity::Error, code, self.mark, &self.path, message);
    }

    pub(super) fn warn(
        &self,
        findings: &mut Findings,
        code: &'static str,
        message: impl Into<String>,
    ) {
        findings.add(Severity::Warning, code, self.mark, &self.path, message);
    }

    fn wrong_type(&self, findings: &mut Findings, expected: &str) {
        let message = format!("expected {expected}, got {}", self.node.value.describe());
        self.error(findings, "wrong-type", message);
    }

    /// An object's fields; says so if it is none, or if a key repeats.
    pub(super) fn object(&self, findings: &mut Findings) -> Option<Fields<'n>> {
        let Value::Object(entries) = &self.node.value else {
            self.wrong_type(findings, "an object");
            return None;
        };
        let fields = Fields {
            entries,
            path: self.path.clone(),
            mark: self.mark,
        };
        for (index, entry) in entries.iter().enumerate() {
            if entries[..index]
                .iter()
                .any(|before| before.key == entry.key)
            {
                findings.add(
                    Severity::Error,
                    "duplicate-key",
                    entry.mark,
                    &fields.join(&entry.key),
                    "this key is already set above",
                );
            }
        }
        Some(fields)
    }

    /// A list's items; says so if it is none.
    pub(super) fn list(&self, findings: &mut Findings) -> Vec<At<'n>> {
        let Value::List(items) = &self.node.value else {
            self.wrong_type(findings, "a list");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'n Node)| At {
            node,
            path: format!("{}[{index}]", self.path),
            mark: node.mark,
        };
        items.iter().enumerate().map(item).collect()
    }

    pub(super) fn text(&self, findings: &mut Findings) -> Option<&'n str> {
        if let Value::Text(text) = &self.node.value {
            return Some(text);
        }
        let hint = match self.node.value {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => "; put it in quotes",
            _ => "",
        };
        self.error(
            findings,
            "wrong-type",
            format!(
                "expected a string, got {}{hint}",
                self.node.value.describe()
            ),
        );
        None
    }

    pub(super) fn integer(&self, findings: &mut Findings) -> Option<i64> {
        if let Value::Int(number) = self.node.value {
            return Some(number);
        }
        self.wrong_type(findings, "an integer");
        None
    }

    pub(super) fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        if let Value::Bool(value) = self.node.value {
            return Some(value);
        }
        self.wrong_type(findings, "true or false");
        None
    }

    /// A list of strings.
    pub(super) fn texts(&self, findings: &mut Findings) -> Vec<(At<'n>, &'n str)> {
        let items = self.list(findings);
        items
            .into_iter()
            .filter_map(|item| item.text(findings).map(|text| (item, text)))
            .collect()
    }

    pub(super) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }
}

impl<'n> Fields<'n> {
    fn join(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// A field that is there and not null. Its place is its value's, or its key's if the value begins on a later line.
    pub(super) fn get(&self, key: &str) -> Option<At<'n>> {
        self.present(key).filter(|at| !at.is_null())
    }

    /// A field that is there, even if it is null.
    pub(super) fn present(&self, key: &str) -> Option<At<'n>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.at(entry))
    }

    fn at(&self, entry: &'n Entry) -> At<'n> {
        let mark = if entry.node.mark.line == entry.mark.line {
            entry.node.mark
        } else {
            entry.mark
        };
        At {
            node: &entry.node,
            path: self.join(&entry.key),
            mark,
        }
    }

    /// All fields with their keys and the keys' places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'n str, Mark, At<'n>)> + '_ {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.mark, self.at(entry)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says so for every field that is not one of `known`, with the one that was probably meant.
    pub(super) fn only(&self, findings: &mut Findings, known: &[&str]) {
        for entry in self.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let hint = suggestion(&entry.key, known)
                .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            findings.add(
                Severity::Error,
                "unknown-field",
                entry.mark,
                &self.join(&entry.key),
                format!("unknown field{hint}"),
            );
        }
    }

    pub(super) fn error(
        &self,
        findings: &mut Findings,
        code: &'static str,
        message: impl Into<String>,
    ) {
        findings.add(Severity::Error, code, self.mark, &self.path, message);
    }

    /// The text of a field, if it is there.
    pub(super) fn text(&self, findings: &mut Findings, key: &str) -> Option<&'n str> {
        self.get(key)?.text(findings)
    }

    /// The truth of a field, if it is there.
    pub(super) fn boolean(&self, findings: &mut Findings, key: &str) -> Option<bool> {
        self.get(key)?.boolean(findings)
    }

    /// The items of a list field; none if it is absent or null.
    pub(super) fn list(&self, findings: &mut Findings, key: &str) -> Vec<At<'n>> {
        self.get(key)
            .map(|at| at.list(findings))
            .unwrap_or_default()
    }

    /// An object field, if it is there.
    pub(super) fn object(&self, findings: &mut Findings, key: &str) -> Option<Fields<'n>> {
        self.get(key)?.object(findings)
    }
}

/// The known word that `word` was probably meant to be: ends alike, or at most two letters off.
fn suggestion<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let ends_alike =
        |candidate: &&&str| word.len() > candidate.len() && word.ends_with(**candidate);
    let by_end = known.iter().find(ends_alike);
    let close = || {
        known
            .iter()
            .map(|candidate| (distance(word, candidate), candidate))
            .min()
            .filter(|(far, _)| *far <= 2)
    };
    by_end
        .copied()
        .or_else(|| close().map(|(_, candidate)| *candidate))
}

/// Levenshtein distance of two short words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (
        a.to_lowercase().chars().take(64).collect(),
        b.to_lowercase().chars().collect(),
    );
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_recognised() {
        assert_eq!(
            suggestion(
                "namespace.matchLabels",
                &["matchLabels", "matchExpressions"]
            ),
            Some("matchLabels")
        );
        assert_eq!(suggestion("form", &["from", "ports"]), Some("from"));
        assert_eq!(
            suggestion("podselector", &["podSelector"]),
            Some("podSelector")
        );
        assert_eq!(suggestion("banana", &["from", "ports"]), None);
    }
}
