//! Weir: testkit.
