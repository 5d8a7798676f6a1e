//! Where the collectors of a cluster pin: one directory for the cluster, one below it for each node.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::ClusterId;
use crate::Error;

const BPFFS: &str = "/sys/fs/bpf";

/// Makes, if need be, the directory a node's collector pins in; mounts bpffs if it is not mounted.
pub(crate) fn pin_root(id: &ClusterId, node: &str) -> Result<PathBuf, Error> {
    ensure_mounted()?;
    let path = cluster_dir(id).join(node);
    std::fs::create_dir_all(&path).map_err(Error::path("create", &path))?;
    Ok(path)
}

/// Removes all pins of a cluster. A link or map that nothing else holds ends with its pin.
pub(crate) fn remove_pins(id: &ClusterId) -> Result<bool, Error> {
    let path = cluster_dir(id);
    match std::fs::remove_dir_all(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::path("remove", &path)(error)),
    }
}

fn cluster_dir(id: &ClusterId) -> PathBuf {
    Path::new(BPFFS).join(format!("weir-{id}"))
}

fn ensure_mounted() -> Result<(), Error> {
    let there = statfs(BPFFS).map_err(Error::path("look at", BPFFS))?;
    if there.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(Error::path("mount bpffs on", BPFFS))
}
