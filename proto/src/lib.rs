//! Hubble's API (`flow`, `observer`, `peer`, `relay`) and Weir's own (`weir.v1`): generated types, clients, servers,
//! and their JSON form as Hubble prints it (field names as in the .proto files, enum names as text).

/// `flow.*`
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod flow {
    tonic::include_proto!("flow");
    include!(concat!(env!("OUT_DIR"), "/flow.serde.rs"));
}

/// `observer.*`
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod observer {
    tonic::include_proto!("observer");
    include!(concat!(env!("OUT_DIR"), "/observer.serde.rs"));
}

/// `peer.*`
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod peer {
    tonic::include_proto!("peer");
    include!(concat!(env!("OUT_DIR"), "/peer.serde.rs"));
}

/// `relay.*`
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod relay {
    tonic::include_proto!("relay");
    include!(concat!(env!("OUT_DIR"), "/relay.serde.rs"));
}

/// `weir.*`
pub mod weir {
    /// `weir.v1.*`
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    pub mod v1 {
        tonic::include_proto!("weir.v1");
        include!(concat!(env!("OUT_DIR"), "/weir.v1.serde.rs"));
    }
}

mod json;

pub use json::{FLOW_EXTENSION_TYPE_URL, to_json};
pub use pbjson_types as types;

/// The encoded `FileDescriptorSet` of all packages, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
