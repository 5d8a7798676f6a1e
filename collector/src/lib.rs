//! The node agent: kernel programs and maps, who is who, records, and where they go.

pub mod apply;
pub mod assemble;
mod boot;
pub mod config;
pub mod endpoints;
pub mod export;
pub mod kernel;
pub mod kernel_test;
pub mod names;
pub mod pipeline;
pub mod policy_state;
pub mod privileges;
mod questions;
pub mod recent;
pub mod serve;
mod settling;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod uplink;
pub mod wiring;
