//! Weir: collector.
