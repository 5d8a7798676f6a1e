//! What a collector is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_flow::Mode;
use weir_policy::model::Name;
use weir_tls::{ClientFiles, ServerFiles};

use crate::assemble::Intervals;
pub use crate::kernel::{AttachMethod, LogLevel};

/// Settings of one collector.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name, as in `spec.nodeName`.
    pub node: Arc<str>,
    /// Where the cluster's state comes from.
    pub source: SourceConfig,
    /// Which interfaces.
    pub scope: Scope,
    /// How it is found out which interface is which pod's.
    pub mapping: PodMapping,
    /// What is done with denied traffic.
    pub mode: Mode,
    /// What happens to a pod whose policies are not known yet.
    pub pending: Posture,
    /// How programs are attached.
    pub attach: AttachMethod,
    /// Directory on a bpffs for pinned maps and links.
    pub pin_root: PathBuf,
    /// Directory for what must survive a restart.
    pub state_dir: PathBuf,
    /// Hubble's API over TCP.
    pub listen: SocketAddr,
    /// TLS for it; plain text without.
    pub tls: Option<ServerFiles>,
    /// Hubble's API over a unix socket.
    pub unix_socket: PathBuf,
    /// `/metrics`.
    pub metrics_listen: SocketAddr,
    /// Where records are pushed, and the bound on what is kept for it.
    pub uplink: Option<UplinkConfig>,
    /// OTLP receiver.
    pub otlp_endpoint: Option<String>,
    /// Records kept in memory.
    pub recent_flows: usize,
    /// How often living flows are reported.
    pub intervals: Intervals,
    /// Between two sweeps.
    pub sweep_interval: Duration,
    /// Entries of the IPv4 flow table; IPv6 has half as many.
    pub flow_table_size: u32,
    /// Show the kernel programs' own log, under the target [`LOG_TARGET`](crate::kernel::LOG_TARGET).
    pub kernel_log: Option<LogLevel>,
}

/// Where the cluster's state comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// The API server.
    Api {
        /// How it is reached; without, by `KUBECONFIG`, `~/.kube/config` or the pod's service account.
        kubeconfig: Option<PathBuf>,
    },
}

/// Which interfaces a collector is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The host ends of all pods' veths in this network namespace.
    Node,
    /// One pod, from inside its network namespace.
    Sidecar {
        /// The pod.
        pod: Name,
        /// Its interface, e.g. `eth0`.
        interface: String,
    },
}

/// How it is found out which interface is which pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodMapping {
    /// By how the node reaches the pods' addresses.
    Address,
    /// The same; where that does not tell, by the network namespace and the cgroup of the pods' processes.
    Cgroup,
}

/// What happens to a pod whose policies are not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posture {
    /// It passes.
    Allow,
    /// It is denied.
    Deny,
}

impl Posture {
    /// Its name, as `--pending` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The way to the aggregator.
#[derive(Clone, Debug)]
pub struct UplinkConfig {
    /// `http://host:port`, or with TLS `https://host:port`.
    pub url: String,
    /// Whom to trust there, and what the collector proves itself with.
    pub tls: Option<ClientFiles>,
    /// Bound on unacknowledged bytes.
    pub max_bytes: u64,
}
