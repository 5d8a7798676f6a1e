//! Records in Hubble's form, and back.
//!
//! A record becomes one `flow.Flow`, as Hubble's parser would have made it of the kernel event that the record stands
//! for. What `Flow` has no field for rides in `Flow.extensions`, for clients that ask for it.

mod convert;
mod event;
mod extension;
mod labels;
mod loss;
mod mask;
mod read;
mod summary;
#[cfg(test)]
mod tests;

pub use convert::{Extension, direction_number, to_flow, uuid, verdict_number};
pub use event::{
    DropReason, Event, MatchType, TracePoint, drop_reason, match_type, reserved_identity, sub_type,
};
pub use extension::{EXTENSION_HEADER, EXTENSION_TYPE};
pub use labels::{Label, labels};
pub use loss::to_lost_event;
pub use mask::{Mask, MaskError};
pub use read::{ReadError, from_flow};
pub(crate) use summary::protocol;
pub use summary::{TCP_FLAGS, summary};

use std::sync::Arc;

use weir_proto::types;

use crate::{Endpoint, EndpointKind, Timestamp};

/// The cluster's name. Hubble's clients expect it to be there; with this one, node names stand alone.
pub const CLUSTER: &str = "default";

/// The name of an endpoint that is a node.
pub fn node_name(endpoint: &Endpoint) -> Option<&Arc<str>> {
    let node = matches!(endpoint.kind, EndpointKind::Host | EndpointKind::RemoteNode);
    (node && !endpoint.name.is_empty()).then_some(&endpoint.name)
}

const NANOSECONDS: i64 = 1_000_000_000;

impl From<Timestamp> for types::Timestamp {
    fn from(time: Timestamp) -> Self {
        Self {
            seconds: time.0.div_euclid(NANOSECONDS),
            nanos: time.0.rem_euclid(NANOSECONDS) as i32,
        }
    }
}

impl From<&types::Timestamp> for Timestamp {
    /// A time outside the range of nanoseconds in 64 bits becomes the nearest that is in it.
    fn from(time: &types::Timestamp) -> Self {
        let nanoseconds = time.seconds.saturating_mul(NANOSECONDS);
        Self(nanoseconds.saturating_add(i64::from(time.nanos)))
    }
}
