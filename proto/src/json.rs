//! Hubble's JSON: protobuf's JSON mapping with the field names of the .proto files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::weir::v1::FlowExtension;

/// Type URL of the message that Weir puts into `Flow.extensions`.
pub const FLOW_EXTENSION_TYPE_URL: &str = "type.googleapis.com/weir.v1.FlowExtension";

/// The JSON of a message as Hubble prints it: times end in `Z`, and an extension of Weir's is written out instead of
/// as bytes.
///
/// # Errors
/// If the message holds an enum number that has no name.
pub fn to_json<T: Serialize>(message: &T) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(message)?;
    polish(&mut value);
    Ok(value)
}

fn polish(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(extension) = flow_extension(fields) {
                *fields = extension;
            }
            fields.values_mut().for_each(polish);
        }
        Value::Array(items) => items.iter_mut().for_each(polish),
        Value::String(text) => {
            if let Some(time) = text
                .strip_suffix("+00:00")
                .filter(|time| time.contains('T'))
            {
                *text = format!("{time}Z");
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An `Any` of ours, written out as protobuf's JSON mapping says: the message's fields beside `@type`.
fn flow_extension(any: &Map<String, Value>) -> Option<Map<String, Value>> {
    if any
        .get("typeUrl")
        .or_else(|| any.get("type_url"))?
        .as_str()?
        != FLOW_EXTENSION_TYPE_URL
    {
        return None;
    }
    let bytes = STANDARD.decode(any.get("value")?.as_str()?).ok()?;
    let extension = FlowExtension::decode(bytes.as_slice()).ok()?;
    let Value::Object(fields) = serde_json::to_value(&extension).ok()? else {
        return None;
    };
    let kind = (
        "@type".to_owned(),
        Value::String(FLOW_EXTENSION_TYPE_URL.to_owned()),
    );
    Some([kind].into_iter().chain(fields).collect())
}
