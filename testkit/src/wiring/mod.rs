//! How the namespaces are joined: lines of the `ip` command and kernel switches, per part of the cluster.

pub(crate) mod fabric;
pub(crate) mod pods;
pub(crate) mod switches;
