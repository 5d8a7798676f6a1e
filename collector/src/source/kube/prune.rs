//! Objects without what Weir does not read, pruned while they are decoded: most of a pod's JSON never becomes a value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is kept of a value. In a list it holds for each of the items.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep<'k> {
    /// All of it.
    All,
    /// These fields, each as said.
    Only(&'k [(&'k str, Keep<'k>)]),
    /// All fields, these as said.
    Except(&'k [(&'k str, Keep<'k>)]),
    /// Fields whose names begin so.
    Beginning(&'k str),
}

impl<'k> Keep<'k> {
    fn field(&self, name: &str) -> Option<Self> {
        let said = |fields: &'k [(&'k str, Keep<'k>)]| {
            let field = fields.iter().find(|(field, _)| *field == name);
            field.map(|(_, keep)| *keep)
        };
        match self {
            Self::All => Some(Self::All),
            Self::Only(fields) => said(fields),
            Self::Except(fields) => Some(said(fields).unwrap_or(Self::All)),
            Self::Beginning(prefix) => name.starts_with(prefix).then_some(Self::All),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Keep<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            match self.field(&name) {
                Some(keep) => drop(map.insert(name, fields.next_value_seed(keep)?)),
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prune(keep: Keep<'_>, text: &str) -> Value {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        keep.deserialize(&mut deserializer).expect("JSON")
    }

    #[test]
    fn only_the_fields_that_are_read_are_kept() {
        let ports = [("ports", Keep::All)];
        let fields = [
            ("spec", Keep::Only(&ports)),
            ("notes", Keep::Beginning("weir.")),
        ];
        let text = r#"{"spec": [{"ports": [1, {"a": null}], "image": "x"}, {"ports": 2}],
            "notes": {"weir.dev": true, "other": 1.5}, "status": {"deep": [1, 2]}}"#;
        assert_eq!(
            prune(Keep::Only(&fields), text),
            json!({"spec": [{"ports": [1, {"a": null}]}, {"ports": 2}], "notes": {"weir.dev": true}})
        );
    }

    #[test]
    fn a_policy_keeps_fields_that_nobody_knows() {
        let fields = [("metadata", Keep::Only(&[("name", Keep::All)]))];
        let text = r#"{"metadata": {"name": "p", "managedFields": []}, "spec": {"new": -1}}"#;
        assert_eq!(
            prune(Keep::Except(&fields), text),
            json!({"metadata": {"name": "p"}, "spec": {"new": -1}})
        );
    }
}
