//! Warnings that experienced users know: policies that are valid and yet not what somebody meant.
//!
//! Selectors are judged against the objects of the same input. What an input does not hold (no pods, no namespaces)
//! is not warned about: many users check policies alone.

mod dns;
mod matching;
mod report;
mod rules;
mod shadow;

use std::sync::Arc;

pub use report::{to_json, to_sarif, to_text};

use crate::manifest::{Diagnostic, Loaded, Located, Mark, Severity};
use crate::model::{Cluster, NetworkPolicy, Object};

/// The codes of all warnings, with what each says. Stable: users' CI filters by them.
pub const CODES: [(&str, &str); 9] = [
    (
        "egress-without-dns",
        "egress is isolated and DNS is not allowed",
    ),
    ("selects-nothing", "the policy selects no pod"),
    ("peer-selects-nothing", "a peer matches no pod"),
    ("rule-never-matches", "a rule has no effect"),
    (
        "named-port-missing",
        "no pod that the rule is for has a port of this name",
    ),
    (
        "ip-block-covers-pods",
        "an ipBlock covers addresses of pods",
    ),
    (
        "shadowed",
        "another policy already allows everything this one allows",
    ),
    ("isolates-only", "the policy isolates and allows nothing"),
    (
        "namespace-missing",
        "the policy's namespace is not in the input",
    ),
];

/// Lints all policies of an input.
pub fn lint(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for located in &loaded.objects {
        let Object::NetworkPolicy(policy) = &located.object else {
            continue;
        };
        let mut site = Site {
            located,
            policy,
            cluster: &loaded.cluster,
            found: &mut found,
        };
        rules::check(&mut site);
        dns::check(&mut site);
        shadow::check(&mut site);
    }
    found.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.code).cmp(&(&b.file, b.line, b.column, b.code))
    });
    found
}

/// One policy under the lint.
struct Site<'a> {
    located: &'a Located,
    policy: &'a Arc<NetworkPolicy>,
    cluster: &'a Cluster,
    found: &'a mut Vec<Diagnostic>,
}

impl Site<'_> {
    /// Reports at a field; at the nearest field above it if it is not in the text.
    fn report(&mut self, severity: Severity, code: &'static str, path: &str, message: String) {
        let Mark { line, column } = self.place(path);
        self.found.push(Diagnostic {
            severity,
            code,
            file: self.located.file.to_string(),
            line,
            column,
            path: path.to_owned(),
            message,
        });
    }

    fn warn(&mut self, code: &'static str, path: &str, message: String) {
        self.report(Severity::Warning, code, path, message);
    }

    fn place(&self, path: &str) -> Mark {
        let mut path = path;
        loop {
            if let Some(mark) = self.located.places.get(path) {
                return *mark;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.located.mark,
            }
        }
    }
}
