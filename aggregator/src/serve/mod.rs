//! What the aggregator answers: Hubble's Observer over all nodes, `weir.v1.Aggregator`, metrics.

mod asked;
mod flows;
mod http;
mod observer;
mod status;

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use weir_flow::Timestamp;

use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::store::Store;

pub(crate) use asked::Asked;
pub(crate) use http::router;
pub(crate) use observer::Observer;
pub(crate) use status::AggregatorStatus;

/// What all services share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// The store.
    pub(crate) store: Store,
    /// The collectors that answer questions.
    pub(crate) asked: Asked,
    /// The nodes.
    pub(crate) nodes: Arc<Nodes>,
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// When this run began.
    pub(crate) started: Instant,
    /// The same, as a time of day.
    pub(crate) started_at: Timestamp,
    /// Cancelled when streams have to end.
    pub(crate) stop: CancellationToken,
}
