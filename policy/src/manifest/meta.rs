//! `metadata`: names, labels, annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::Findings;
use super::read::{At, Fields, Unknown};
use super::syntax;
use crate::model::{Labels, Name};

const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What Weir reads of an object's metadata.
pub(super) struct Meta<'n> {
    pub(super) name: &'n str,
    pub(super) namespace: &'n str,
    pub(super) labels: Labels,
    pub(super) annotations: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) fields: Fields<'n>,
}

/// How an object's name must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    /// RFC 1123 label (Namespace, Service).
    Label,
    /// RFC 1123 subdomain (most others).
    Subdomain,
}

impl Meta<'_> {
    /// Namespace and name; `default` where the manifest leaves the namespace out, as `kubectl` does.
    pub(super) fn full_name(&self) -> Name {
        Name::new(self.namespace, self.name)
    }
}

/// Reads `metadata`. `None` if there is no usable name.
pub(super) fn read<'n>(
    root: &Fields<'n>,
    rule: NameRule,
    unknown: Unknown,
    findings: &mut Findings,
) -> Option<Meta<'n>> {
    let Some(at) = root.get("metadata") else {
        findings.add(
            super::Severity::Error,
            "required",
            root.mark,
            "metadata.name",
            "required",
        );
        return None;
    };
    let fields = at.object(findings)?;
    if unknown == Unknown::Refuse {
        fields.only(findings, &KNOWN);
    }
    let labels = fields
        .get("labels")
        .map(|at| labels(&at, findings))
        .unwrap_or_default();
    let annotations = fields
        .get("annotations")
        .map(|at| texts(&at, findings))
        .unwrap_or_default();
    let namespace = match fields.get("namespace") {
        Some(at) => {
            let text = at.text(findings)?;
            if let Err(wrong) = syntax::dns_label(text) {
                at.error(findings, "invalid-name", wrong);
            }
            text
        }
        None => "default",
    };
    let Some(at) = fields.get("name") else {
        findings.add(
            super::Severity::Error,
            "required",
            fields.mark,
            "metadata.name",
            "required",
        );
        return None;
    };
    let name = at.text(findings)?;
    let valid = match rule {
        NameRule::Label => syntax::dns_label(name),
        NameRule::Subdomain => syntax::dns_subdomain(name),
    };
    if let Err(wrong) = valid {
        at.error(findings, "invalid-name", wrong);
    }
    Some(Meta {
        name,
        namespace,
        labels,
        annotations,
        fields,
    })
}

/// A map of label keys and values.
pub(super) fn labels(at: &At<'_>, findings: &mut Findings) -> Labels {
    let Some(fields) = at.object(findings) else {
        return Labels::default();
    };
    let mut pairs = Vec::new();
    for (key, mark, value) in fields.iter() {
        if let Err(wrong) = syntax::label_key(key) {
            findings.add(
                super::Severity::Error,
                "invalid-label",
                mark,
                &at.path,
                wrong,
            );
        }
        // A null value is the empty string, as in the API server's decoder.
        let text = if value.is_null() {
            Some("")
        } else {
            value.text(findings)
        };
        let Some(text) = text else { continue };
        if let Err(wrong) = syntax::label_value(text) {
            value.error(findings, "invalid-label", wrong);
        }
        pairs.push((key, text));
    }
    Labels::from_iter(pairs)
}

fn texts(at: &At<'_>, findings: &mut Findings) -> BTreeMap<Arc<str>, Arc<str>> {
    let Some(fields) = at.object(findings) else {
        return BTreeMap::new();
    };
    let mut map = BTreeMap::new();
    for (key, _, value) in fields.iter() {
        let text = if value.is_null() {
            Some("")
        } else {
            value.text(findings)
        };
        map.extend(text.map(|text| (Arc::from(key), Arc::from(text))));
    }
    map
}
