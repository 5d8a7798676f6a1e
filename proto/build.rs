//! Generates the message types, services and their JSON form from the .proto files. Needs no `protoc`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use protox::prost::Message;

const FILES: [&str; 6] = [
    "flow/flow.proto",
    "observer/observer.proto",
    "peer/peer.proto",
    "relay/relay.proto",
    "weir/v1/weir.proto",
    "weir/v1/node.proto",
];
const PACKAGES: [&str; 5] = [".flow", ".observer", ".peer", ".relay", ".weir.v1"];

/// The generated JSON puts the members of a `oneof` last; these two are written by hand in src/json.rs.
const OWN_JSON: [&str; 2] = [".observer.GetFlowsResponse", ".observer.ExportEvent"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let encoded = descriptors.encode_to_vec();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    fs::write(out.join("descriptors.bin"), &encoded)?;
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "crate::types")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .exclude(OWN_JSON)
        .build(&PACKAGES)?;
    Ok(())
}
