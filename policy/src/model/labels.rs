//! Labels and label selectors (`k8s.io/apimachinery` `pkg/labels/selector.go`, `pkg/apis/meta/v1`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Labels of an object. Ordered, so that equal label sets compare and hash alike. Clones share the map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(Arc<BTreeMap<Arc<str>, Arc<str>>>);

impl Labels {
    /// The value of `key`. An absent label is not the empty string.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        self.0.get(key)
    }

    /// All labels in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no clone of it is left.
    pub fn is_sole(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The same labels with `key` set to `value`.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut map = (*self.0).clone();
        map.insert(key.into(), value.into());
        Self(Arc::new(map))
    }
}

impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(Arc::new(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        ))
    }
}

/// A label selector: all requirements must hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSelector {
    /// Every entry must be present with this value.
    pub match_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Further requirements, ANDed with the labels and each other.
    pub match_expressions: Vec<Requirement>,
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }

    /// Whether it matches everything, being empty.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// Label key.
    pub key: Arc<str>,
    /// What must hold.
    pub operator: Operator,
}

/// What a requirement asks of its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// Present, with one of the values.
    In(Vec<Arc<str>>),
    /// Absent, or present with another value.
    NotIn(Vec<Arc<str>>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl Requirement {
    /// Whether it holds (`labels.Requirement.Matches`): `NotIn` and `DoesNotExist` hold for objects without the key.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: Operator) -> Requirement {
        Requirement {
            key: "k".into(),
            operator,
        }
    }

    #[test]
    fn an_absent_label_is_not_the_empty_string() {
        let (without, empty) = (Labels::default(), Labels::from_iter([("k", "")]));
        assert!(!requirement(Operator::In(vec!["".into()])).matches(&without));
        assert!(requirement(Operator::In(vec!["".into()])).matches(&empty));
    }

    #[test]
    fn not_in_and_does_not_exist_match_objects_without_the_key() {
        let without = Labels::from_iter([("other", "x")]);
        assert!(requirement(Operator::NotIn(vec!["a".into()])).matches(&without));
        assert!(requirement(Operator::DoesNotExist).matches(&without));
        assert!(!requirement(Operator::Exists).matches(&without));
    }

    #[test]
    fn the_empty_selector_matches_everything() {
        assert!(LabelSelector::default().matches(&Labels::default()));
    }
}
