//! Label and field selectors, as query parameters have them.
//!
//! Grammar: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors> and
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/>.

use serde_json::Value;

use super::{
    Resource,
    object::{Key, text},
    refusal::Refusal,
};

/// Which objects of a resource a client wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    /// None for all namespaces.
    pub(super) namespace: Option<String>,
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug)]
struct LabelTerm {
    key: String,
    test: LabelTest,
}

#[derive(Clone, Debug)]
enum LabelTest {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

#[derive(Clone, Debug)]
struct FieldTerm {
    path: &'static str,
    test: FieldTest,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldTest {
    Equal,
    Differs,
}

// === impl Selector ===

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    pub(super) fn parse(
        resource: Resource,
        namespace: Option<String>,
        labels: &str,
        fields: &str,
    ) -> Result<Self, Refusal> {
        let unparsable = |text: &str| {
            let text = text.to_owned();
            move || Refusal::BadRequest(format!("unable to parse requirement: {text:?}"))
        };
        let labels = split(labels).into_iter();
        let labels = labels.map(|term| label_term(term).ok_or_else(unparsable(term)));
        let fields = split(fields).into_iter();
        let fields = fields.map(|term| {
            let (path, test, value) = field_term(term).ok_or_else(unparsable(term))?;
            let known = supported(resource).into_iter();
            let path = known
                .clone()
                .find(|known| *known == path)
                .ok_or_else(|| Refusal::BadRequest(format!("field label not supported: {path}")))?;
            Ok(FieldTerm { path, test, value })
        });
        Ok(Self {
            namespace,
            labels: labels.collect::<Result<_, Refusal>>()?,
            fields: fields.collect::<Result<_, Refusal>>()?,
        })
    }

    /// Whether it wants an object.
    pub(super) fn matches(&self, key: &Key, object: &Value) -> bool {
        let is_here = self
            .namespace
            .as_ref()
            .is_none_or(|here| *here == key.namespace);
        let labels = &object["metadata"]["labels"];
        is_here
            && self.labels.iter().all(|term| term.matches(labels))
            && self.fields.iter().all(|term| term.matches(object))
    }

    /// Whether it wants less than all.
    pub(super) fn is_selective(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// The one name that it wants; RBAC's resourceNames are compared with it.
    pub(super) fn name(&self) -> Option<&str> {
        let mut terms = self.fields.iter();
        let term = terms.find(|term| {
            term.path == "metadata.name" && term.test == FieldTest::Equal && !term.value.is_empty()
        })?;
        Some(&term.value)
    }
}

impl LabelTerm {
    fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let is_one = |values: &[String]| value.is_some_and(|is| values.iter().any(|v| v == is));
        match &self.test {
            LabelTest::Exists => value.is_some(),
            LabelTest::Absent => value.is_none(),
            LabelTest::In(values) => is_one(values),
            LabelTest::NotIn(values) => !is_one(values),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let pointer = format!("/{}", self.path.replace('.', "/"));
        let is_equal = text(object, &pointer) == self.value;
        is_equal == (self.test == FieldTest::Equal)
    }
}

/// The fields that can be selected by.
fn supported(resource: Resource) -> Vec<&'static str> {
    let mut fields = vec!["metadata.name"];
    match resource {
        Resource::Namespaces => fields.push("status.phase"),
        Resource::Nodes => {}
        Resource::Pods => fields.extend([
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ]),
        _ => fields.push("metadata.namespace"),
    }
    fields
}

/// Splits at commas outside parentheses.
fn split(selector: &str) -> Vec<&str> {
    let mut depth = 0;
    let terms = selector.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    let terms = terms.map(str::trim);
    terms.filter(|_| !selector.trim().is_empty()).collect()
}

fn label_term(term: &str) -> Option<LabelTerm> {
    let (key, test) = if let Some(key) = term.strip_prefix('!') {
        (key, LabelTest::Absent)
    } else if let Some((key, value)) = term.split_once("!=") {
        (key, LabelTest::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = term.split_once("==").or(term.split_once('=')) {
        (key, LabelTest::In(vec![value.trim().to_owned()]))
    } else if let Some((head, values)) = term.split_once('(') {
        let values = values.strip_suffix(')')?.split(',');
        let values = values.map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().split_once(char::is_whitespace)?;
        match operator.trim() {
            "in" => (key, LabelTest::In(values)),
            "notin" => (key, LabelTest::NotIn(values)),
            _ => return None,
        }
    } else {
        (term, LabelTest::Exists)
    };
    let key = key.trim();
    let is_key = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    is_key.then(|| LabelTerm {
        key: key.to_owned(),
        test,
    })
}

fn field_term(term: &str) -> Option<(&str, FieldTest, String)> {
    let (path, test, value) = if let Some((path, value)) = term.split_once("!=") {
        (path, FieldTest::Differs, value)
    } else {
        let (path, value) = term.split_once("==").or(term.split_once('='))?;
        (path, FieldTest::Equal, value)
    };
    Some((path, test, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(labels: &str, fields: &str) -> Option<bool> {
        let pod = json!({
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "web", "tier": "front"}},
            "spec": {"nodeName": "node-1"},
        });
        let selector = Selector::parse(Resource::Pods, None, labels, fields).ok()?;
        Some(selector.matches(&Key::new("shop", "a"), &pod))
    }

    #[test]
    fn label_selectors_match_by_each_operator() {
        let yes = [
            "",
            "app",
            "app=web",
            "app==web",
            "app!=db",
            "!gone",
            "gone!=x",
            "app in (db, web)",
            "app notin (db),tier",
            "gone notin (x)",
            "app in (web),tier=front,!gone",
        ];
        let no = [
            "gone",
            "app=db",
            "!app",
            "app!=web",
            "app in (db)",
            "gone in (x)",
            "app notin (db,web)",
            "app=web,tier=back",
        ];
        for labels in yes {
            assert_eq!(selects(labels, ""), Some(true), "{labels}");
        }
        for labels in no {
            assert_eq!(selects(labels, ""), Some(false), "{labels}");
        }
        for labels in [
            "=web",
            "app in web",
            "app within (web)",
            "app=web,,tier",
            "a b",
        ] {
            assert_eq!(selects(labels, ""), None, "{labels}");
        }
    }

    #[test]
    fn field_selectors_match_and_unknown_fields_are_refused() {
        assert_eq!(selects("", "spec.nodeName=node-1"), Some(true));
        assert_eq!(
            selects("", "spec.nodeName=node-1,metadata.name!=a"),
            Some(false)
        );
        assert_eq!(selects("", "status.phase!=Running"), Some(true));
        assert_eq!(selects("", "spec.hostNetwork=true"), None);
        assert_eq!(selects("app=db", "metadata.namespace==shop"), Some(false));
    }

    #[test]
    fn a_single_name_is_seen() {
        let parse = |fields| Selector::parse(Resource::Pods, None, "", fields).unwrap();
        assert_eq!(parse("metadata.name=a").name(), Some("a"));
        assert_eq!(parse("metadata.name!=a").name(), None);
    }
}
