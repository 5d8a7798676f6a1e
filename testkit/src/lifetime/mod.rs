//! From the claim of a cluster's name to the removal of all that bears it.
//!
//! A cluster owns a marker file, locked for as long as its process lives. The kernel lets go of the lock whatever way the
//! process ends, so a marker that can be locked is one whose owner is dead, and all that bears its id may be removed.

pub(crate) mod bpffs;
mod marker;
mod teardown;

pub(crate) use marker::{ClusterId, Marker};
pub use teardown::{Swept, Teardown};
pub(crate) use teardown::{remove_netns, sweep_stale};
