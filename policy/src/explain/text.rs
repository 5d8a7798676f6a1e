//! An explanation for people.

use std::fmt::Write;

use super::{Explanation, RuleReport, Side};
use crate::model::{Direction, Name};
use crate::tables::Reason;

/// How many rules of a side are shown.
const MAX_RULES: usize = 12;

/// Renders an explanation.
pub fn to_text(explanation: &Explanation) -> String {
    let mut out = String::new();
    let Explanation {
        from,
        to,
        protocol,
        port,
        allowed,
        sides,
        notes,
    } = explanation;
    let verdict = if *allowed { "ALLOWED" } else { "DENIED" };
    line(
        &mut out,
        0,
        &format!("{from} → {to} {protocol}/{port}: {verdict}"),
    );
    for note in notes {
        line(&mut out, 1, &format!("note: {note}"));
    }
    if sides.is_empty() {
        line(&mut out, 1, "neither side is a pod that policies apply to");
    }
    for side in sides {
        self::side(&mut out, side);
    }
    out
}

fn side(out: &mut String, side: &Side) {
    out.push('\n');
    let verdict = if side.allowed { "allowed" } else { "DENIED" };
    let word = match side.direction {
        Direction::Egress => "egress of",
        Direction::Ingress => "ingress of",
    };
    line(
        out,
        0,
        &format!(
            "{word} {} (on {}): {verdict}, {}",
            side.pod,
            side.node,
            reason(side)
        ),
    );
    if !side.isolated_by.is_empty() {
        line(
            out,
            1,
            &format!("isolated by: {}", names(&side.isolated_by)),
        );
    }
    for report in side.rules.iter().take(MAX_RULES) {
        rule(out, report);
    }
    if side.rules.len() > MAX_RULES {
        line(
            out,
            1,
            &format!(
                "… and {} more rules that are farther off",
                side.rules.len() - MAX_RULES
            ),
        );
    }
    if let Some(yaml) = &side.suggestion {
        line(out, 1, "the smallest policy that would allow it:");
        for text in yaml.lines() {
            line(out, 2, text);
        }
    }
}

fn reason(side: &Side) -> String {
    match side.reason {
        Reason::Policy => match &side.rule {
            Some(rule) => format!(
                "by {} {} rule {}",
                rule.policy,
                side.direction.as_str(),
                rule.index
            ),
            None => "by a policy".to_owned(),
        },
        Reason::NotIsolated => format!("no policy isolates its {}", side.direction.as_str()),
        Reason::DefaultDeny => "no rule allows it (default deny)".to_owned(),
        Reason::SelfTraffic => "a pod may always reach itself".to_owned(),
        Reason::OwnNode => "traffic with the pod's own node is always allowed".to_owned(),
        Reason::Pending => "its policies are not known yet".to_owned(),
        Reason::NoBackends => "the service has no backends".to_owned(),
        Reason::MixedBackends => {
            "the service's backends differ in verdict: some are denied".to_owned()
        }
    }
}

fn rule(out: &mut String, report: &RuleReport) {
    let mark = if report.matched { "✔" } else { "✘" };
    let words = match (report.matched, report.index) {
        (true, Some(index)) => format!(
            "{} rule {index}: {}, {}",
            report.policy, report.peer.why, report.ports.why
        ),
        _ => report.in_one_line(),
    };
    line(out, 1, &format!("{mark} {words}"));
}

fn names(names: &[Name]) -> String {
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn line(out: &mut String, indent: usize, text: &str) {
    let _infallible = writeln!(out, "{}{text}", "  ".repeat(indent));
}
