//! What an API server sends: pages of lists, and a watch's lines.

use std::fmt;

use kube::core::Status;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::prune::Keep;

/// The annotation by which a bookmark ends the initial events of a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    /// The list's resourceVersion.
    pub(super) version: String,
    /// How to ask for the next page, if there is one.
    pub(super) more: Option<String>,
}

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Event {
    /// An object was added or modified.
    Changed(Value),
    /// An object was deleted; its last state.
    Deleted(Value),
    /// How far the watch is.
    Bookmark(String),
    /// The same, and all objects that there were at the beginning have come.
    InitialEventsEnd(String),
    /// The watch cannot go on.
    Failed(Box<Status>),
}

/// Reads a page.
pub(super) fn page(text: &str, keep: Keep<'_>) -> Result<Page, serde_json::Error> {
    let fields = [("metadata", Keep::All), ("items", keep)];
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut list = Keep::Only(&fields).deserialize(&mut deserializer)?;
    deserializer.end()?;
    let more = text_at(&list["metadata"], "continue").to_owned();
    Ok(Page {
        version: text_at(&list["metadata"], "resourceVersion").to_owned(),
        more: (!more.is_empty()).then_some(more),
        items: match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(), // `null` where there are none
        },
    })
}

/// Reads a line.
pub(super) fn event(line: &[u8], keep: Keep<'_>) -> Result<Event, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let event = EventSeed(keep).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(event)
}

/// A text field of an object; empty if it is not there.
pub(super) fn text_at<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

struct EventSeed<'k>(Keep<'k>);

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a watch event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Event, A::Error> {
        let (mut kind, mut object) = (String::new(), Value::Null);
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "type" => kind = fields.next_value()?,
                "object" => {
                    // Bookmarks and errors are small, and what they say is not among an object's fields.
                    let is_object = matches!(kind.as_str(), "ADDED" | "MODIFIED" | "DELETED");
                    let keep = if is_object { self.0 } else { Keep::All };
                    object = fields.next_value_seed(keep)?;
                }
                _ => drop(fields.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        match kind.as_str() {
            "ADDED" | "MODIFIED" => Ok(Event::Changed(object)),
            "DELETED" => Ok(Event::Deleted(object)),
            "BOOKMARK" => Ok(bookmark(&object)),
            "ERROR" => serde_json::from_value(object)
                .map(Event::Failed)
                .map_err(A::Error::custom),
            other => Err(A::Error::custom(format!("unknown event type `{other}`"))),
        }
    }
}

fn bookmark(object: &Value) -> Event {
    let metadata = &object["metadata"];
    let version = text_at(metadata, "resourceVersion").to_owned();
    match text_at(&metadata["annotations"], INITIAL_EVENTS_END) {
        "true" => Event::InitialEventsEnd(version),
        _ => Event::Bookmark(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Keep<'static> = Keep::Only(&[("metadata", Keep::All)]);

    #[test]
    fn a_page_says_how_to_go_on() {
        let text = r#"{"metadata": {"resourceVersion": "7", "continue": "abc"},
            "items": [{"metadata": {"name": "a"}, "spec": {}}]}"#;
        let page = page(text, NAMES).unwrap();
        assert_eq!(
            (page.version.as_str(), page.more.as_deref()),
            ("7", Some("abc"))
        );
        assert_eq!(page.items, [serde_json::json!({"metadata": {"name": "a"}})]);
        let empty = super::page(
            r#"{"metadata": {"resourceVersion": "7"}, "items": null}"#,
            NAMES,
        );
        assert!(empty.unwrap().items.is_empty());
    }

    #[test]
    fn lines_of_a_watch_are_told_apart() {
        let line = br#"{"type": "DELETED", "object": {"metadata": {"name": "a"}, "spec": {}}}"#;
        let Event::Deleted(object) = event(line, NAMES).unwrap() else {
            panic!("deleted")
        };
        assert_eq!(object, serde_json::json!({"metadata": {"name": "a"}}));
        let line = br#"{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9",
            "annotations": {"k8s.io/initial-events-end": "true"}}}}"#;
        assert!(
            matches!(event(line, NAMES), Ok(Event::InitialEventsEnd(version)) if version == "9")
        );
        let line =
            br#"{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired",
            "message": "too old"}}"#;
        assert!(matches!(event(line, NAMES), Ok(Event::Failed(status)) if status.code == 410));
    }

    #[test]
    fn half_a_line_is_no_event() {
        assert!(event(br#"{"type": "ADDED", "object": {"metadata": {"na"#, NAMES).is_err());
        assert!(event(br#"{"type": "NEW", "object": {}}"#, NAMES).is_err());
    }
}
