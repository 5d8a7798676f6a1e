//! What the server says about itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Resource, Scope, resource::VERSION};

/// The answer to a path that is no resource's, if there is one.
pub(super) fn discover(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match *parts.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": [VERSION],
            "serverAddressByClientCIDRs": [],
        })),
        ["api", VERSION] => Some(resources("")),
        ["apis"] => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups().into_iter().map(group).collect::<Vec<_>>(),
        })),
        ["apis", name] if groups().contains(name) => {
            let mut answer = group(name);
            answer["kind"] = "APIGroup".into();
            answer["apiVersion"] = "v1".into();
            Some(answer)
        }
        ["apis", name, VERSION] if groups().contains(name) => Some(resources(name)),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": "v1.37.0-weir-testkit",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

fn groups() -> BTreeSet<&'static str> {
    let groups = Resource::ALL.into_iter().map(Resource::group);
    groups.filter(|group| !group.is_empty()).collect()
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{VERSION}"), "version": VERSION});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str) -> Value {
    let of_group = Resource::ALL
        .into_iter()
        .filter(|resource| resource.group() == group);
    let resources = of_group.map(|resource| {
        json!({
            "name": resource.plural(),
            "singularName": resource.kind().to_lowercase(),
            "namespaced": resource.scope() == Scope::Namespaced,
            "kind": resource.kind(),
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    });
    let group_version = match group {
        "" => VERSION.to_owned(),
        group => format!("{group}/{VERSION}"),
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources.collect::<Vec<_>>(),
    })
}
