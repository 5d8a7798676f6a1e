//! The aggregator: takes the collectors' record batches, keeps them on disk, and answers questions about all nodes.

pub mod metrics;
pub mod query;
pub mod store;
