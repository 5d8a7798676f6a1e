//! Label selectors (`pkg/apis/meta/v1/validation`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::Findings;
use super::meta;
use super::read::{At, Fields};
use super::syntax;
use crate::model::{LabelSelector, Operator, Requirement};

/// Reads a selector. What is wrong with it is reported; what is left of it must not be used then.
pub(super) fn read(at: &At<'_>, findings: &mut Findings) -> LabelSelector {
    let Some(fields) = at.object(findings) else {
        return LabelSelector::default();
    };
    fields.only(findings, &["matchExpressions", "matchLabels"]);
    let labels = fields
        .get("matchLabels")
        .map(|at| meta::labels(&at, findings))
        .unwrap_or_default();
    let match_labels: BTreeMap<Arc<str>, Arc<str>> = labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let expressions = fields.list(findings, "matchExpressions");
    let match_expressions = expressions
        .iter()
        .filter_map(|at| requirement(at, findings))
        .collect();
    LabelSelector {
        match_labels,
        match_expressions,
    }
}

fn requirement(at: &At<'_>, findings: &mut Findings) -> Option<Requirement> {
    let fields = at.object(findings)?;
    fields.only(findings, &["key", "operator", "values"]);
    let key = match fields.get("key") {
        Some(at) => {
            let key = at.text(findings)?;
            if let Err(wrong) = syntax::label_key(key) {
                at.error(findings, "invalid-label", wrong);
            }
            Some(key)
        }
        None => {
            findings.add(
                super::Severity::Error,
                "required",
                at.mark,
                &format!("{}.key", at.path),
                "required",
            );
            None
        }
    };
    let operator = operator(&fields, findings);
    Some(Requirement {
        key: key?.into(),
        operator: operator?,
    })
}

fn operator(fields: &Fields<'_>, findings: &mut Findings) -> Option<Operator> {
    let values_at = fields.get("values");
    let values: Vec<(At<'_>, &str)> = values_at
        .as_ref()
        .map(|at| at.texts(findings))
        .unwrap_or_default();
    let Some(at) = fields.get("operator") else {
        findings.add(
            super::Severity::Error,
            "required",
            fields.mark,
            &format!("{}.operator", fields.path),
            "required",
        );
        return None;
    };
    let word = at.text(findings)?;
    let place = values_at.as_ref().map_or(at.mark, |values| values.mark);
    let path = format!("{}.values", fields.path);
    let list = || values.iter().map(|(_, text)| Arc::from(*text)).collect();
    let operator = match word {
        "In" => Operator::In(list()),
        "NotIn" => Operator::NotIn(list()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            at.error(findings, "invalid-operator", format!("`{other}` is not a valid label selector operator: In, NotIn, Exists or DoesNotExist"));
            return None;
        }
    };
    let takes_values = matches!(operator, Operator::In(_) | Operator::NotIn(_));
    if takes_values && values.is_empty() {
        findings.add(
            super::Severity::Error,
            "required",
            place,
            &path,
            "must be specified when operator is In or NotIn",
        );
    }
    if !takes_values && !values.is_empty() {
        findings.add(
            super::Severity::Error,
            "forbidden",
            place,
            &path,
            "may not be specified when operator is Exists or DoesNotExist",
        );
    }
    for (at, text) in &values {
        if let Err(wrong) = syntax::label_value(text) {
            at.error(findings, "invalid-label", wrong);
        }
    }
    Some(operator)
}
