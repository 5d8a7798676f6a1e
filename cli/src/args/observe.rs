//! `weir observe`: Hubble's flags.

use clap::{Args, ValueEnum};

use super::ServerArgs;
use super::values::Moment;

/// Show flows.
#[derive(Args, Debug)]
pub(crate) struct ObserveArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Go on showing new flows.
    #[arg(short, long)]
    pub follow: bool,
    /// Show the last N flows that match (20 unless following or since/until is given).
    #[arg(long, value_name = "N", conflicts_with = "first")]
    pub last: Option<u64>,
    /// Show the first N flows that match.
    #[arg(long, value_name = "N")]
    pub first: Option<u64>,
    /// Show flows since: how long ago (5m) or RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Show flows until.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// Source or destination pod: `[namespace/]name-prefix`.
    #[arg(long, value_name = "POD")]
    pub pod: Vec<String>,
    /// Source pod.
    #[arg(long, value_name = "POD")]
    pub from_pod: Vec<String>,
    /// Destination pod.
    #[arg(long, value_name = "POD")]
    pub to_pod: Vec<String>,
    /// Source or destination namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Vec<String>,
    /// Source namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub from_namespace: Vec<String>,
    /// Destination namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub to_namespace: Vec<String>,
    /// Source or destination address or CIDR.
    #[arg(long, value_name = "IP")]
    pub ip: Vec<String>,
    /// Source address or CIDR.
    #[arg(long, value_name = "IP")]
    pub from_ip: Vec<String>,
    /// Destination address or CIDR.
    #[arg(long, value_name = "IP")]
    pub to_ip: Vec<String>,
    /// Source or destination labels, e.g. `app=web` or `k8s:app in (web, api)`.
    #[arg(short, long, value_name = "SELECTOR")]
    pub label: Vec<String>,
    /// Source labels.
    #[arg(long, value_name = "SELECTOR")]
    pub from_label: Vec<String>,
    /// Destination labels.
    #[arg(long, value_name = "SELECTOR")]
    pub to_label: Vec<String>,
    /// Source or destination port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Source port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub from_port: Vec<u16>,
    /// Destination port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub to_port: Vec<u16>,
    /// Verdict.
    #[arg(long, value_enum, ignore_case = true)]
    pub verdict: Vec<VerdictArg>,
    /// Protocol.
    #[arg(long, value_enum, ignore_case = true)]
    pub protocol: Vec<ProtocolArg>,
    /// Direction as the reporting pod sees it.
    #[arg(long, value_enum, ignore_case = true)]
    pub traffic_direction: Vec<DirectionArg>,
    /// Node that reported it, e.g. `node-1`.
    #[arg(long, value_name = "NODE")]
    pub node_name: Vec<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = OutputArg::Compact)]
    pub output: OutputArg,
    /// Colours.
    #[arg(long, value_enum, default_value_t = ColourArg::Auto)]
    pub color: ColourArg,
}

/// Verdicts of Hubble's that Weir gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerdictArg {
    /// Passed.
    Forwarded,
    /// Dropped by policy.
    Dropped,
    /// Would have been dropped; passed in audit mode.
    Audit,
}

/// Protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP for IPv4 and IPv6.
    Icmp,
    /// ICMP for IPv4.
    Icmpv4,
    /// ICMP for IPv6.
    Icmpv6,
}

/// Direction as the reporting pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirectionArg {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputArg {
    /// Hubble's line, with policy and rule.
    Compact,
    /// Hubble's JSON, one object a line.
    Json,
    /// Columns.
    Table,
}

/// Colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColourArg {
    /// If stdout is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
