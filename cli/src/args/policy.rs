//! `weir policy ...` and `weir explain`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ReportFormat;
use super::tls::ClientTlsArgs;
use super::values::ServerAddress;

/// Check and test policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Validate manifests as the API server does, and warn of what experienced users know.
    Check(CheckArgs),
    /// Compare verdicts with a table of expected ones; with `--kernel`, through the real programs.
    Test(TestArgs),
}

/// `weir policy check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Manifest files or directories.
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    pub format: FormatArg,
    /// Warnings make the command fail, too.
    #[arg(long)]
    pub strict: bool,
}

/// Form of a check's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// `file:line:col: severity: path: message`.
    Text,
    /// A JSON array.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// `weir policy test`.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Manifest files or directories.
    #[arg(short, long = "filename", value_name = "FILE|DIR", num_args = 1.., required_unless_present = "steps")]
    pub files: Vec<PathBuf>,
    /// Table of expected verdicts, with the header `from,to,protocol,port,ingress,egress,verdict`.
    #[arg(long, value_name = "FILE", required_unless_present = "steps")]
    pub expect: Option<PathBuf>,
    /// Directory of `step-*` directories with manifests and an `expected.csv` each, applied in order to one running state.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["files", "expect"])]
    pub steps: Option<PathBuf>,
    /// Run every row through the real kernel programs, too (root; private maps, a live collector is never touched).
    #[arg(long)]
    pub kernel: bool,
}

/// `weir explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Who connects: `namespace/pod` or an address.
    #[arg(long, value_name = "WHO")]
    pub from: Option<String>,
    /// To whom: `namespace/pod`, `namespace/service` or an address.
    #[arg(long, value_name = "WHOM")]
    pub to: Option<String>,
    /// Destination port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Protocol: tcp, udp or sctp.
    #[arg(long, default_value = "tcp", ignore_case = true, value_parser = ["tcp", "udp", "sctp"])]
    pub protocol: String,
    /// Explain from these manifest files or directories.
    #[arg(short, long = "filename", value_name = "FILE|DIR", num_args = 1.., conflicts_with = "server")]
    pub files: Vec<PathBuf>,
    /// Ask this collector or aggregator: `host:port` or `unix:///path`.
    #[arg(long, env = "WEIR_SERVER", value_name = "ADDRESS")]
    pub server: Option<ServerAddress>,
    /// TLS.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
    /// Form of the report.
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
}
