//! Pods made as a container runtime makes them: by a chain of CNI plugins.

mod chain;
mod pods;

pub use chain::{Attachment, Chain};
pub use pods::Sandbox;
