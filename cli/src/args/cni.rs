//! `weir cni`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The CNI plugin: what a container runtime calls, and its installation.
#[derive(Args, Debug)]
pub(crate) struct CniArgs {
    /// Without one: act as the plugin, as the environment (`CNI_COMMAND`, ...) and stdin say.
    #[command(subcommand)]
    pub command: Option<CniCommand>,
}

/// What to do on a node.
#[derive(Debug, Subcommand)]
pub(crate) enum CniCommand {
    /// Copy this binary to where plugins are, and put it at the end of the node's chain of plugins.
    Install(CniInstallArgs),
    /// Take it out of the chain, and remove the binary.
    Uninstall(CniPaths),
}

/// Where plugins and configurations are.
#[derive(Args, Debug)]
pub(crate) struct CniPaths {
    /// Where the runtime looks for plugins.
    #[arg(long, default_value = "/opt/cni/bin", value_name = "DIR")]
    pub bin_dir: PathBuf,
    /// Where the runtime looks for network configurations; it uses the first by name.
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    pub conf_dir: PathBuf,
}

/// `weir cni install`.
#[derive(Args, Debug)]
pub(crate) struct CniInstallArgs {
    /// Where to.
    #[command(flatten)]
    pub paths: CniPaths,
    /// The collector's unix socket, as the node sees it.
    #[arg(long, default_value = "/run/weir/hubble.sock", value_name = "PATH")]
    pub socket: PathBuf,
    /// How long a pod's start waits for the collector, seconds.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout_seconds: u64,
    /// How long it waits for the pod's policies before its posture (`--pending` of the collector) is answer enough, seconds.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=60))]
    pub policy_wait_seconds: u64,
    /// Whether pods start while no collector runs on the node.
    #[arg(long, value_enum, default_value_t = WhenAbsentArg::Fail)]
    pub when_absent: WhenAbsentArg,
}

/// What happens to starting pods while no collector runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenAbsentArg {
    /// They wait: the runtime tries again until there is one.
    Fail,
    /// They start, without the programs at their interface.
    Pass,
}
