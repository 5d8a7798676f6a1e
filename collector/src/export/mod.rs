//! Where records go beside the uplink and Hubble's API.

pub mod otlp;
