//! Protobuf's well-known types, with the JSON that protobuf prescribes for them.

mod any;
mod timestamp;

pub use any::{Any, FLOW_EXTENSION_TYPE_URL};
pub use pbjson_types::{BoolValue, FieldMask, Int32Value, UInt32Value};
pub use timestamp::Timestamp;
