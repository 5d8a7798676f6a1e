//! The aggregator: takes the collectors' record batches, keeps them on disk, and answers questions about all nodes.
//!
//! ```text
//! collectors ──Arrow Flight DoPut──▶ ingest ──▶ store (log, memory, Parquet) ──▶ query ──▶ serve: Observer, status
//! ```

mod config;
mod ingest;
pub mod metrics;
mod nodes;
pub mod query;
mod run;
mod serve;
pub mod store;

pub use config::{API_PORT, Config, METRICS_PORT};
pub use nodes::{Node, Nodes};
pub use run::{AggregatorError, Listeners, run};
