//! One object as an API server sends it: the same reading, defaults and validation as a manifest's.

use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, Findings, Severity};
use super::read::At;
use super::yaml::{Entry, Mark, Node, Value};
use super::{API_VERSIONS, object};
use crate::model::{Kind, Object};

/// Reads one object of a kind. Items of lists lack `apiVersion` and `kind`, so the caller says what it asked for. The
/// findings have no line and no column.
///
/// # Errors
/// All that is wrong with it; it must not be used.
pub fn from_json(kind: Kind, value: &Json) -> Result<Object, Vec<Diagnostic>> {
    let node = node(value);
    let mut findings = Findings::new("");
    let at = At::root(&node);
    let name = kind.to_string();
    let version = API_VERSIONS
        .iter()
        .find(|(kind, _)| **kind == *name)
        .map_or("v1", |(_, version)| *version);
    let read = at
        .object(&mut findings)
        .and_then(|root| object(&root, version, &name, &mut findings));
    if findings.errors() == 0
        && let Some(object) = read
    {
        return Ok(object);
    }
    let mut found = findings.into_vec();
    found.retain(|finding| finding.severity == Severity::Error);
    Err(found)
}

fn node(value: &Json) -> Node {
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(fields) => Value::Object(fields.iter().map(entry).collect()),
    };
    Node {
        mark: Mark::default(),
        value,
    }
}

fn entry((key, value): (&String, &Json)) -> Entry {
    Entry {
        key: key.clone(),
        mark: Mark::default(),
        node: node(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Name;

    #[test]
    fn an_object_of_the_api_reads_as_its_manifest_does() {
        let text = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}},
                     "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}}"#;
        let value: Json = serde_json::from_str(text).unwrap();
        let manifest = super::super::parse("p.json", text);
        let object = from_json(Kind::NetworkPolicy, &value).unwrap();
        assert_eq!(object, manifest.objects[0].object);
    }

    #[test]
    fn items_of_lists_need_no_kind() {
        let value = json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": {}});
        let object = from_json(Kind::Pod, &value).unwrap();
        assert_eq!(
            (object.kind(), object.name()),
            (Kind::Pod, Name::new("shop", "a"))
        );
    }

    #[test]
    fn a_field_that_is_not_known_is_named() {
        let value = json!({"metadata": {"name": "p", "namespace": "shop"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"serviceSelector": {}}]}]}});
        let found = from_json(Kind::NetworkPolicy, &value).unwrap_err();
        assert_eq!(found[0].path, "spec.ingress[0].from[0].serviceSelector");
    }

    #[test]
    fn a_slice_of_domain_names_has_no_addresses() {
        let value = json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "FQDN",
            "endpoints": [{"addresses": ["db.example.com"]}]});
        let Ok(Object::EndpointSlice(slice)) = from_json(Kind::EndpointSlice, &value) else {
            panic!("readable")
        };
        assert!(slice.endpoints.is_empty());
    }
}
