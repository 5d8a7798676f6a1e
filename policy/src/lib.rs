//! Cluster model and policies → verdict tables; explain, lint, tests of policies. Pure: no I/O, no async, and nothing
//! of the kernel.

pub mod casefile;
pub mod compile;
pub mod explain;
pub mod lint;
pub mod manifest;
pub mod model;
pub mod tables;
