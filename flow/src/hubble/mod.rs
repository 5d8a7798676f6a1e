//! Records in Hubble's form, and back.

mod event;
mod summary;

pub use event::{
    DropReason, Event, MatchType, TracePoint, drop_reason, match_type, reserved_identity, sub_type,
};
pub use summary::{TCP_FLAGS, summary};

use std::sync::Arc;

use crate::{Endpoint, EndpointKind};

/// The name of an endpoint that is a node.
pub fn node_name(endpoint: &Endpoint) -> Option<&Arc<str>> {
    let node = matches!(endpoint.kind, EndpointKind::Host | EndpointKind::RemoteNode);
    (node && !endpoint.name.is_empty()).then_some(&endpoint.name)
}
