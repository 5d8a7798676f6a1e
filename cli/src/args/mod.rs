//! The command line, typed. Every value is parsed here, once; commands get what they need and no strings to look into.

mod certs;
mod cni;
mod collector;
mod observe;
mod policy;
mod tls;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use certs::{CertsCommand, CertsInitArgs};
pub(crate) use cni::{CniArgs, CniCommand, CniInstallArgs, CniPaths, WhenAbsentArg};
pub(crate) use collector::{
    AttachArg, CollectorArgs, KernelLogArg, MappingArg, ModeArg, PendingArg,
};
pub(crate) use observe::{
    ColourArg, DirectionArg, ObserveArgs, OutputArg, ProtocolArg, VerdictArg,
};
pub(crate) use policy::{CheckArgs, ExplainArgs, FormatArg, PolicyCommand, TestArgs};
pub(crate) use tls::{ClientTlsArgs, ListenTlsArgs};
pub(crate) use values::{ByteSize, Interval, Moment, ServerAddress};

/// Kubernetes flow logger and NetworkPolicy enforcer.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged to stderr, e.g. `info`, `debug`, `weir_collector=trace`.
    #[arg(
        long,
        global = true,
        env = "WEIR_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// Form of the log on stderr.
    #[arg(long, global = true, env = "WEIR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Form of a status report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node agent: enforce policies at pods' interfaces and record their flows.
    Collector(Box<CollectorArgs>),
    /// Run the central aggregator: keep the collectors' records and answer questions.
    Aggregator(AggregatorArgs),
    /// The CNI plugin that lets a pod start once it is enforced: what runtimes call, and its installation.
    Cni(CniArgs),
    /// Show flows: the last ones, or live with `--follow`.
    Observe(Box<ObserveArgs>),
    /// Say why a connection is allowed or denied, and the smallest change that would allow it.
    Explain(ExplainArgs),
    /// Check and test policies before they are shipped.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make certificates for TLS between collectors, the aggregator and those who ask them, and renew them.
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Show how a collector or the aggregator fares.
    Status(StatusArgs),
    /// Show Weir on real traffic: two nodes as network namespaces, pods, policies, a denied connection and its repair.
    Demo(DemoArgs),
}

/// `weir aggregator`.
#[derive(Args, Debug)]
pub(crate) struct AggregatorArgs {
    /// Where records are kept.
    #[arg(
        long,
        env = "WEIR_DATA_DIR",
        default_value = "/var/lib/weir-aggregator",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Where collectors push to and Hubble clients ask. Plain text on the loopback address unless told otherwise.
    #[arg(long, default_value = "127.0.0.1:4245", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// TLS for it.
    #[command(flatten)]
    pub tls: ListenTlsArgs,
    /// Serve on a unix socket, too.
    #[arg(long, value_name = "PATH")]
    pub unix_socket: Option<PathBuf>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[arg(long, default_value = "127.0.0.1:9966", value_name = "ADDRESS")]
    pub metrics_listen: SocketAddr,
    /// Memory for recent batches, e.g. `256MiB`.
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub recent_bytes: ByteSize,
    /// Records become a Parquet file at the latest after this time.
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub seal_interval: Interval,
}

/// `weir status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The collector or aggregator to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// List the pods' interfaces: state, when attached and programmed, policies.
    #[arg(long)]
    pub pods: bool,
    /// Form of the report.
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// `host:port`, `tls://host:port` or `unix:///path`; the aggregator listens on 4245, a collector on 4244.
    #[arg(
        long,
        env = "WEIR_SERVER",
        default_value = "localhost:4245",
        value_name = "ADDRESS"
    )]
    pub server: ServerAddress,
    /// TLS.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
}

/// `weir demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Stay up for playing; prints the commands to type.
    #[arg(long)]
    pub keep: bool,
    /// One collector inside one pod's network namespace instead of one a node.
    #[arg(long)]
    pub sidecar: bool,
    /// How pods are joined to their node.
    #[arg(long, value_enum, default_value_t = TopologyArg::Ptp)]
    pub topology: TopologyArg,
}

/// How pods are joined to their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopologyArg {
    /// A route for each veth.
    Ptp,
    /// A Linux bridge.
    Bridge,
}
