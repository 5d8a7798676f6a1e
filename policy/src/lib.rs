//! Weir: policy.
