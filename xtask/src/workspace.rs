//! Where things are in the source tree.

use std::path::{Path, PathBuf};

/// The root of the repository, wherever the chore was started.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ lies in the repository's root")
}

/// Where finished kernel objects go. `collector/build.rs` embeds them from here.
pub(crate) fn ebpf_objects() -> PathBuf {
    root().join("target/bpf")
}
