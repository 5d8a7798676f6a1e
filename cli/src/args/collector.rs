//! `weir collector`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::tls::{AggregatorTlsArgs, ListenTlsArgs};
use super::values::{ByteSize, Interval};

/// Run the node agent.
#[derive(Args, Debug)]
pub(crate) struct CollectorArgs {
    /// Directory of manifests (Namespaces, Pods, Nodes, Services, EndpointSlices, NetworkPolicies); changes take effect at once. Default: the Kubernetes API.
    #[arg(long, env = "WEIR_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// How the Kubernetes API is reached. Default: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// This node's name, as in the pods' `spec.nodeName`. Default: the host name.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// What is done with traffic that the policies deny.
    #[arg(long, value_enum, default_value_t = ModeArg::Enforce)]
    pub mode: ModeArg,
    /// What happens to a pod's traffic until its policies are known.
    #[arg(long, value_enum, default_value_t = PendingArg::Allow)]
    pub pending: PendingArg,
    /// Sidecar mode: record and enforce for this one pod, from inside its network namespace.
    #[arg(long, value_name = "NAMESPACE/POD")]
    pub sidecar: Option<String>,
    /// The pod's interface in sidecar mode.
    #[arg(
        long,
        default_value = "eth0",
        value_name = "NAME",
        requires = "sidecar"
    )]
    pub interface: String,
    /// How it is found out which interface is which pod's: `cgroup` also looks at the pods' processes, and needs to see them (`hostPID`).
    #[arg(long, value_enum, default_value_t = MappingArg::Address)]
    pub map_pods_by: MappingArg,
    /// How programs are attached: tcx needs Linux 6.6, clsact 5.15.
    #[arg(long, value_enum, default_value_t = AttachArg::Auto)]
    pub attach: AttachArg,
    /// Directory on a bpffs for this collector's pinned maps and links.
    #[arg(long, default_value = "/sys/fs/bpf/weir", value_name = "DIR")]
    pub pin_root: PathBuf,
    /// Directory for what must survive a restart: catalogue, endpoint numbers, spool.
    #[arg(long, default_value = "/var/lib/weir", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where Hubble's API is served. Plain text on the loopback address unless told otherwise.
    #[arg(long, default_value = "127.0.0.1:4244", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// TLS for it.
    #[command(flatten)]
    pub tls: ListenTlsArgs,
    /// Unix socket on which Hubble's API is served.
    #[arg(long, default_value = "/run/weir/hubble.sock", value_name = "PATH")]
    pub unix_socket: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[arg(long, default_value = "127.0.0.1:9965", value_name = "ADDRESS")]
    pub metrics_listen: SocketAddr,
    /// The aggregator to push records to, e.g. `http://weir-aggregator:4245`, with TLS `https://…`.
    #[arg(long, env = "WEIR_AGGREGATOR", value_name = "URL")]
    pub aggregator: Option<String>,
    /// TLS for it.
    #[command(flatten)]
    pub aggregator_tls: AggregatorTlsArgs,
    /// Bound on what is kept for the aggregator; beyond it records become counted losses.
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub uplink_bytes: ByteSize,
    /// OTLP/gRPC receiver for records (logs) and the collector's own metrics, e.g. `http://otel-collector:4317`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Records kept in memory for `GetFlows`.
    #[arg(long, default_value_t = 65_536, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub recent_flows: u32,
    /// Time between two sweeps of the flow tables.
    #[arg(long, default_value = "1s", value_name = "TIME")]
    pub sweep_interval: Interval,
    /// Time between two records of a flow whose counts grow.
    #[arg(long, default_value = "15s", value_name = "TIME")]
    pub update_interval: Interval,
    /// Entries of the IPv4 flow table; the IPv6 table has half as many.
    #[arg(long, default_value_t = 131_072, value_name = "N", value_parser = clap::value_parser!(u32).range(1024..=16_777_216))]
    pub flow_table_size: u32,
    /// Show the kernel programs' own log on stderr, whatever `--log` says (debug builds only).
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub kernel_log: Option<KernelLogArg>,
    /// Detach all programs, remove all pins under `--pin-root`, and exit: nothing is enforced any more.
    #[arg(long)]
    pub detach: bool,
}

/// What is done with denied traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// It is dropped.
    Enforce,
    /// It passes, and its records say AUDIT.
    Audit,
    /// Nothing is judged.
    Observe,
}

/// How it is found out which interface is which pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MappingArg {
    /// By how the node reaches the pods' addresses.
    Address,
    /// The same; where that does not tell, by the network namespace and the cgroup of the pods' processes.
    Cgroup,
}

/// What happens to a pod whose policies are not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PendingArg {
    /// Its traffic passes.
    Allow,
    /// Its traffic is dropped.
    Deny,
}

/// How much the kernel programs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelLogArg {
    /// A table or ring is full.
    Warn,
    /// Also refused packets and verdicts that changed.
    Debug,
    /// Also new flows and packets that belong to none.
    Trace,
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachArg {
    /// tcx where the kernel has it.
    Auto,
    /// tcx, at the head of the chain.
    Tcx,
    /// clsact filters.
    Clsact,
}
