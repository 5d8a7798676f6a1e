//! Weir: flow.
