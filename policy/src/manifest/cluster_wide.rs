//! Cluster-wide policies (AdminNetworkPolicy, BaselineAdminNetworkPolicy v1alpha1, ClusterNetworkPolicy v1alpha2) are
//! validated, and then refused: Weir does not enforce them yet, and passing over a deny would be worse than saying so.

use super::diagnostic::{Findings, Severity};
use super::meta::{self, NameRule};
use super::network_policy::protocol;
use super::read::{At, Fields, Unknown};
use super::{selector, syntax};

/// What the three kinds differ in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    actions: &'static [&'static str],
    max_rules: usize,
    has_priority: bool,
    has_tier: bool,
    ports_field: &'static str,
}

pub(super) const ADMIN: Dialect = Dialect {
    actions: &["Allow", "Deny", "Pass"],
    max_rules: 100,
    has_priority: true,
    has_tier: false,
    ports_field: "ports",
};
pub(super) const BASELINE_ADMIN: Dialect = Dialect {
    actions: &["Allow", "Deny"],
    max_rules: 100,
    has_priority: false,
    has_tier: false,
    ports_field: "ports",
};
pub(super) const CLUSTER: Dialect = Dialect {
    actions: &["Accept", "Deny", "Pass"],
    max_rules: 25,
    has_priority: true,
    has_tier: true,
    ports_field: "protocols",
};

/// Validates a policy of this dialect; a valid one is refused as not supported.
pub(super) fn check(root: &Fields<'_>, dialect: Dialect, findings: &mut Findings) {
    let before = findings.errors();
    root.only(
        findings,
        &["apiVersion", "kind", "metadata", "spec", "status"],
    );
    meta::read(root, NameRule::Subdomain, Unknown::Refuse, findings);
    match root.object(findings, "spec") {
        Some(fields) => spec(&fields, dialect, findings),
        None => findings.add(Severity::Error, "required", root.mark, "spec", "required"),
    }
    if findings.errors() == before {
        findings.add(Severity::Error, "not-supported", root.mark, "", "cluster-wide policies are not supported yet; remove it or its verdicts would be ignored");
    }
}

fn spec(spec: &Fields<'_>, dialect: Dialect, findings: &mut Findings) {
    spec.only(
        findings,
        &["egress", "ingress", "priority", "subject", "tier"],
    );
    if dialect.has_priority {
        priority(spec, findings);
    }
    if dialect.has_tier {
        one_word(spec, "tier", &["Admin", "Baseline"], findings);
    }
    match spec.get("subject") {
        Some(at) => exactly_one(&at, &["namespaces", "pods"], findings),
        None => findings.add(
            Severity::Error,
            "required",
            spec.mark,
            "spec.subject",
            "required",
        ),
    }
    for (section, peers, fields) in [
        ("ingress", "from", &["namespaces", "pods"][..]),
        (
            "egress",
            "to",
            &["domainNames", "namespaces", "networks", "nodes", "pods"][..],
        ),
    ] {
        let Some(at) = spec.get(section) else {
            continue;
        };
        let rules = at.list(findings);
        if rules.len() > dialect.max_rules {
            at.error(
                findings,
                "too-many",
                format!("at most {} rules", dialect.max_rules),
            );
        }
        for at in rules {
            rule(&at, peers, fields, dialect, findings);
        }
    }
}

fn priority(spec: &Fields<'_>, findings: &mut Findings) {
    let Some(at) = spec.get("priority") else {
        findings.add(
            Severity::Error,
            "required",
            spec.mark,
            "spec.priority",
            "required",
        );
        return;
    };
    match at.integer(findings) {
        Some(number) if !(0..=1000).contains(&number) => at.error(
            findings,
            "out-of-range",
            format!("{number} must be between 0 and 1000"),
        ),
        _ => {}
    }
}

fn one_word(fields: &Fields<'_>, key: &str, known: &[&str], findings: &mut Findings) {
    let Some(at) = fields.get(key) else {
        let path = format!("{}.{key}", fields.path);
        findings.add(
            Severity::Error,
            "required",
            fields.mark,
            &path,
            format!("required: one of {}", known.join(", ")),
        );
        return;
    };
    match at.text(findings) {
        Some(word) if !known.contains(&word) => {
            at.error(
                findings,
                "not-supported",
                format!(
                    "unsupported value `{word}`: supported are {}",
                    known.join(", ")
                ),
            );
        }
        _ => {}
    }
}

/// An object of which exactly one field is set; selectors in it are read.
fn exactly_one(at: &At<'_>, known: &[&str], findings: &mut Findings) {
    let Some(fields) = at.object(findings) else {
        return;
    };
    fields.only(findings, known);
    let set = known
        .iter()
        .filter(|key| fields.present(key).is_some())
        .count();
    if set != 1 {
        at.error(
            findings,
            "exactly-one",
            format!("exactly one of {} must be set, {set} are", known.join(", ")),
        );
    }
    for key in ["namespaces", "nodes"] {
        fields.get(key).map(|at| selector::read(&at, findings));
    }
    if let Some(pods) = fields.object(findings, "pods") {
        pods.only(findings, &["namespaceSelector", "podSelector"]);
        for key in ["namespaceSelector", "podSelector"] {
            match pods.get(key) {
                Some(at) => drop(selector::read(&at, findings)),
                None => findings.add(
                    Severity::Error,
                    "required",
                    pods.mark,
                    &format!("{}.{key}", pods.path),
                    "required",
                ),
            }
        }
    }
    for at in fields.list(findings, "networks") {
        if let Some(Err(wrong)) = at.text(findings).map(syntax::cidr) {
            at.error(findings, "invalid-cidr", wrong);
        }
    }
}

fn rule(at: &At<'_>, peers: &str, peer_fields: &[&str], dialect: Dialect, findings: &mut Findings) {
    let Some(fields) = at.object(findings) else {
        return;
    };
    fields.only(findings, &["action", "name", peers, dialect.ports_field]);
    one_word(&fields, "action", dialect.actions, findings);
    let list = fields.list(findings, peers);
    if list.is_empty() {
        findings.add(
            Severity::Error,
            "required",
            fields.mark,
            &format!("{}.{peers}", fields.path),
            "must name at least one peer",
        );
    }
    for at in &list {
        exactly_one(at, peer_fields, findings);
    }
    for at in fields.list(findings, dialect.ports_field) {
        if dialect.ports_field == "ports" {
            port(&at, findings)
        } else {
            protocol_item(&at, findings)
        }
    }
}

/// v1alpha1: `portNumber`, `portRange` or `namedPort`.
fn port(at: &At<'_>, findings: &mut Findings) {
    let known = ["namedPort", "portNumber", "portRange"];
    let Some(fields) = at.object(findings) else {
        return;
    };
    exactly_one(at, &known, findings);
    for key in ["portNumber", "portRange"] {
        let Some(inner) = fields.object(findings, key) else {
            continue;
        };
        inner.only(
            findings,
            if key == "portNumber" {
                &["port", "protocol"]
            } else {
                &["end", "protocol", "start"]
            },
        );
        inner.get("protocol").map(|at| protocol(&at, findings));
        number(&inner, "port", findings);
        ordered(&inner, findings);
    }
}

/// v1alpha2: `tcp`, `udp`, `sctp` or `destinationNamedPort`.
fn protocol_item(at: &At<'_>, findings: &mut Findings) {
    let known = ["destinationNamedPort", "sctp", "tcp", "udp"];
    let Some(fields) = at.object(findings) else {
        return;
    };
    exactly_one(at, &known, findings);
    for key in ["sctp", "tcp", "udp"] {
        let Some(inner) = fields.object(findings, key) else {
            continue;
        };
        inner.only(findings, &["destinationPort"]);
        if inner.is_empty() {
            inner.error(findings, "required", "must not be empty");
        }
        let Some(at) = inner.get("destinationPort") else {
            continue;
        };
        exactly_one(&at, &["number", "range"], findings);
        let Some(port) = at.object(findings) else {
            continue;
        };
        number(&port, "number", findings);
        if let Some(range) = port.object(findings, "range") {
            range.only(findings, &["end", "start"]);
            ordered(&range, findings);
        }
    }
}

fn number(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<u16> {
    let at = fields.get(key)?;
    match syntax::port_number(at.integer(findings)?) {
        Ok(port) => Some(port),
        Err(wrong) => {
            at.error(findings, "out-of-range", wrong);
            None
        }
    }
}

fn ordered(range: &Fields<'_>, findings: &mut Findings) {
    let (start, end) = (
        number(range, "start", findings),
        number(range, "end", findings),
    );
    if let (Some(start), Some(end)) = (start, end)
        && start >= end
    {
        range.error(
            findings,
            "out-of-range",
            format!("start {start} must be less than end {end}"),
        );
    }
}
