//! One object: what names it, and how clients see it.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{ApiError, Resource, Scope};

/// What names an object within its resource. In the order of lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Empty for objects of the cluster.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object that is to be stored.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) resource: Resource,
    pub(super) key: Key,
    pub(super) value: Value,
}

/// How much of an object a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Whole,
    /// `PartialObjectMetadata` of meta.k8s.io/v1.
    Metadata,
}

// === impl Key ===

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

// === impl Object ===

impl Object {
    /// Reads what names an object. One without a namespace is in `default`, as with kubectl.
    pub(super) fn new(mut value: Value) -> Result<Self, ApiError> {
        let (api_version, kind) = (text(&value, "/apiVersion"), text(&value, "/kind"));
        let unknown = || ApiError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        };
        let resource = Resource::by_kind(api_version, kind).ok_or_else(unknown)?;
        let kind = resource.kind();
        let name = text(&value, "/metadata/name").to_owned();
        if name.is_empty() {
            return Err(ApiError::NoName { kind });
        }
        let namespace = match (resource.scope(), text(&value, "/metadata/namespace")) {
            (Scope::Cluster, "") => String::new(),
            (Scope::Cluster, _) => return Err(ApiError::NotNamespaced { kind, name }),
            (Scope::Namespaced, "") => "default".to_owned(),
            (Scope::Namespaced, namespace) => namespace.to_owned(),
        };
        if resource.scope() == Scope::Namespaced {
            value["metadata"]["namespace"] = namespace.clone().into();
        }
        let key = Key { namespace, name };
        Ok(Self {
            resource,
            key,
            value,
        })
    }
}

/// A text field by its JSON pointer; empty if it is not there.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    let value = value.pointer(pointer);
    value.and_then(Value::as_str).unwrap_or_default()
}

/// The object in the view of a client.
pub(super) fn seen(object: &Value, view: View) -> Value {
    match view {
        View::Whole => object.clone(),
        View::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": object["metadata"],
        }),
    }
}

/// The object with another resourceVersion.
pub(super) fn at_version(object: &Value, version: u64) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object
}

/// Applies a JSON merge patch (RFC 7386).
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(&name));
        } else {
            merge(&mut target[&name], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_sets_replaces_and_removes() {
        let mut value = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"});
        merge(
            &mut value,
            json!({"a": {"b": null, "c": [3], "e": {"f": null, "g": 1}}, "d": {"h": 2}}),
        );
        assert_eq!(
            value,
            json!({"a": {"c": [3], "e": {"g": 1}}, "d": {"h": 2}})
        );
    }

    #[test]
    fn what_names_an_object_must_be_there() {
        let named = |value| Object::new(value).map(|object| object.key.to_string());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
        assert_eq!(named(pod).unwrap(), "default/a");
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}});
        assert_eq!(named(node).unwrap(), "a");
        let refused = [
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            json!({"apiVersion": "apps/v1", "kind": "Pod", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "namespace": "b"}}),
        ];
        for value in refused {
            assert!(named(value).is_err());
        }
    }
}
