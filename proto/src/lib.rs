//! Hubble's API (`flow`, `observer`, `peer`, `relay`) and Weir's own (`weir.v1`): generated types, clients and servers.
//!
//! Messages are serde's, in protobuf's JSON mapping as Hubble prints it: field names as in the .proto files, enum
//! names as text, 64-bit numbers as text, what is not set left out. `serde_json::to_string` of a
//! [`observer::GetFlowsResponse`] is a line of `hubble observe -o json`. It fails on an enum number that has no name.

mod json;
pub mod types;

/// Lints are for what people write.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::pedantic,
            clippy::allow_attributes_without_reason,
            reason = "generated from the .proto files"
        )]
        pub mod $name {
            tonic::include_proto!($package);
            include!(concat!(env!("OUT_DIR"), "/", $package, ".serde.rs"));
        }
    };
}

generated! {
    /// Flows and the filters for them.
    flow, "flow"
}
generated! {
    /// Hubble's Observer service.
    observer, "observer"
}
generated! {
    /// Hubble's Peer service.
    peer, "peer"
}
generated! {
    /// What a relay says about its nodes.
    relay, "relay"
}

/// Weir's own API.
pub mod weir {
    generated! {
        /// Version 1.
        v1, "weir.v1"
    }
}

/// The encoded `FileDescriptorSet` of all packages, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
