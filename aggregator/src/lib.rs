//! Weir: aggregator.
