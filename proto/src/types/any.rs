//! `google.protobuf.Any`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::weir::v1::FlowExtension;

/// Type URL of the message that Weir puts into `Flow.extensions`.
pub const FLOW_EXTENSION_TYPE_URL: &str = "type.googleapis.com/weir.v1.FlowExtension";

/// `google.protobuf.Any`: a message of any type. In JSON Weir's own extension is written out, its fields beside
/// `@type`; what is not known here stays bytes in base64, as `value`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// Names the type, e.g. [`FLOW_EXTENSION_TYPE_URL`].
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Weir's extension, wrapped.
    pub fn from_flow_extension(extension: &FlowExtension) -> Self {
        Self {
            type_url: FLOW_EXTENSION_TYPE_URL.to_owned(),
            value: extension.encode_to_vec().into(),
        }
    }

    /// Weir's extension, if it is one and can be read.
    pub fn to_flow_extension(&self) -> Option<FlowExtension> {
        (self.type_url == FLOW_EXTENSION_TYPE_URL)
            .then(|| FlowExtension::decode(self.value.clone()).ok())
            .flatten()
    }
}

/// Key of the bytes of a message that is not written out.
const OPAQUE: &str = "value";

#[derive(Serialize)]
struct Written<'a, T> {
    #[serde(rename = "@type")]
    type_url: &'a str,
    #[serde(flatten)]
    message: T,
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let type_url = &self.type_url;
        match self.to_flow_extension() {
            Some(message) => Written { type_url, message }.serialize(serializer),
            None => {
                let message = BTreeMap::from([(OPAQUE, STANDARD.encode(&self.value))]);
                Written { type_url, message }.serialize(serializer)
            }
        }
    }
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "@type")]
    type_url: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { type_url, fields } = Read::deserialize(deserializer)?;
        if type_url == FLOW_EXTENSION_TYPE_URL && !fields.contains_key(OPAQUE) {
            let extension = FlowExtension::deserialize(fields).map_err(de::Error::custom)?;
            return Ok(Self::from_flow_extension(&extension));
        }
        let value = fields.get(OPAQUE).and_then(Value::as_str).ok_or_else(|| {
            de::Error::custom(format!("{type_url} is not known here and has no `value`"))
        })?;
        let value = STANDARD.decode(value).map_err(de::Error::custom)?.into();
        Ok(Self { type_url, value })
    }
}
