//! What the collector asks of the API server, in RBAC's words. `deploy/base/rbac.yaml` grants this and nothing else.

use super::kinds::{RESOURCES, Resource};
use super::refusal;

/// Verbs on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The collection's name.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
}

/// Everything that the collector asks for, in all namespaces: to follow what it watches, and to say which policies it
/// refuses.
pub fn rights() -> Vec<Right> {
    let watched = RESOURCES.iter().map(|resource| watched(resource));
    watched.chain([refusal::RIGHT]).collect()
}

/// Lists and watches, and the consistent reads of `fresh`, which are lists too.
fn watched(resource: &Resource) -> Right {
    Right {
        group: group(resource.api),
        resource: resource.plural,
        verbs: &["list", "watch"],
    }
}

/// `apis/networking.k8s.io/v1` → `networking.k8s.io`; `api/v1` → the core group.
fn group(api: &'static str) -> &'static str {
    let group = api
        .strip_prefix("apis/")
        .and_then(|api| api.split_once('/'));
    group.map_or("", |(group, _)| group)
}
