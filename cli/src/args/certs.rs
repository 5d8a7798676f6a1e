//! `weir certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Certificates for TLS.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make a CA and its certificates where there are none, and renew those that are past two thirds of their life.
    Init(CertsInitArgs),
}

/// `weir certs init`.
#[derive(Args, Debug)]
pub(crate) struct CertsInitArgs {
    /// Keep them in this directory: `ca`, `aggregator`, `collector`, `client`, each with `tls.crt`, `tls.key`, `ca.crt`.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "namespace",
        conflicts_with_all = ["namespace", "kubeconfig"]
    )]
    pub dir: Option<PathBuf>,
    /// Keep them in this namespace's Secrets: `weir-ca`, `weir-aggregator-tls`, `weir-collector-tls`, `weir-client-tls`.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How the Kubernetes API is reached. Default: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// One more DNS name or address for the aggregator's certificate. It is known as its Services and as localhost.
    #[arg(long = "server-name", value_name = "NAME")]
    pub server_names: Vec<String>,
}
