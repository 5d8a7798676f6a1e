//! What a request asks for.

use axum::http::{HeaderMap, Method, Uri, header};
use serde::Deserialize;

use super::{Resource, Scope, Verb, object::View, refusal::Refusal, resource::VERSION};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) resource: Resource,
    /// None for the whole cluster.
    pub(super) namespace: Option<String>,
    /// None for all.
    pub(super) name: Option<String>,
}

/// The query of a list or a watch: `ListOptions` of meta/v1. What is absent is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Params {
    pub(super) watch: Flag,
    pub(super) resource_version: String,
    pub(super) resource_version_match: String,
    pub(super) label_selector: String,
    pub(super) field_selector: String,
    pub(super) limit: usize,
    #[serde(rename = "continue")]
    pub(super) continue_token: String,
    pub(super) allow_watch_bookmarks: Flag,
    pub(super) send_initial_events: Option<Flag>,
    pub(super) timeout_seconds: u64,
}

/// A flag as Go reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) enum Flag {
    #[default]
    Off,
    On,
}

impl From<String> for Flag {
    fn from(text: String) -> Self {
        match text.as_str() {
            "false" | "0" => Self::Off,
            _ => Self::On,
        }
    }
}

// === impl Target ===

impl Target {
    /// Reads `/api/v1/…` and `/apis/GROUP/v1/…`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        if parts.next()? != VERSION {
            return None;
        }
        let rest: Vec<&str> = parts.collect();
        let (namespace, plural, name) = match *rest.as_slice() {
            [plural] => (None, plural, None),
            [plural, name] => (None, plural, Some(name)),
            ["namespaces", namespace, plural] => (Some(namespace), plural, None),
            ["namespaces", namespace, plural, name] => (Some(namespace), plural, Some(name)),
            _ => return None,
        };
        let resource = Resource::by_path(group, plural)?;
        let is_possible = match resource.scope() {
            Scope::Cluster => namespace.is_none(),
            Scope::Namespaced => namespace.is_some() || name.is_none(),
        };
        is_possible.then(|| Self {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        })
    }

    /// What is to be done with it.
    pub(super) fn verb(&self, method: &Method, params: &Params) -> Result<Verb, Refusal> {
        let is_place = self.namespace.is_some() || self.resource.scope() == Scope::Cluster;
        match (method.as_str(), &self.name) {
            ("GET", Some(_)) => Ok(Verb::Get),
            ("GET", None) if params.watch == Flag::On => Ok(Verb::Watch),
            ("GET", None) => Ok(Verb::List),
            ("POST", None) if is_place => Ok(Verb::Create),
            ("PUT", Some(_)) => Ok(Verb::Update),
            ("PATCH", Some(_)) => Ok(Verb::Patch),
            ("DELETE", Some(_)) => Ok(Verb::Delete),
            _ => Err(Refusal::Method),
        }
    }
}

// === impl Params ===

impl Params {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Refusal> {
        axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(params)| params)
            .map_err(|error| Refusal::BadRequest(error.to_string()))
    }

    /// The resourceVersion; none if it is not set.
    pub(super) fn version(&self) -> Result<Option<u64>, Refusal> {
        let text = self.resource_version.as_str();
        let invalid = |_| Refusal::BadRequest(format!("invalid resource version {text:?}"));
        match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(invalid),
        }
    }
}

/// How much of the objects is asked for.
pub(super) fn view(headers: &HeaderMap) -> View {
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    // The first type of the list that the server has; in practice clients ask for one.
    match accept {
        Some(accept) if accept.contains("as=PartialObjectMetadata") => View::Metadata,
        _ => View::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Option<String> {
        let target = Target::parse(path)?;
        let show = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
        let resource = target.resource.qualified();
        Some(format!(
            "{resource} {} {}",
            show(target.namespace),
            show(target.name)
        ))
    }

    #[test]
    fn paths_name_collections_and_objects() {
        let known = [
            ("/api/v1/pods", "pods - -"),
            ("/api/v1/namespaces/shop/pods", "pods shop -"),
            ("/api/v1/namespaces/shop/pods/a", "pods shop a"),
            ("/api/v1/namespaces", "namespaces - -"),
            ("/api/v1/namespaces/shop", "namespaces - shop"),
            (
                "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies",
                "networkpolicies.networking.k8s.io shop -",
            ),
        ];
        for (path, expected) in known {
            assert_eq!(parsed(path).as_deref(), Some(expected), "{path}");
        }
        let unknown = [
            "/api/v1/configmaps",
            "/api/v1/pods/a",
            "/api/v1/namespaces/shop/nodes",
            "/api/v1/namespaces/shop/pods/a/log",
            "/apis/apps/v1beta1/deployments",
            "/apis/apps/v1/pods",
        ];
        for path in unknown {
            assert_eq!(parsed(path), None, "{path}");
        }
    }
}
