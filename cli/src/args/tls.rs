//! Certificates and keys, of those that listen and of those that connect.

use std::path::PathBuf;

use clap::Args;
use weir_tls::{ClientFiles, IdentityFiles, ServerFiles};

/// TLS of a listener.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListenTlsArgs {
    /// Serve with TLS: the certificate and those that lead to its CA, PEM. Files that change are taken up within a minute.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// CAs of which clients must have a certificate, PEM. Without, everybody is let in.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
}

impl ListenTlsArgs {
    /// The files; none for plain text.
    pub(crate) fn files(&self) -> Option<ServerFiles> {
        Some(ServerFiles {
            identity: identity(self.tls_cert.as_ref(), self.tls_key.as_ref())?,
            client_ca: self.tls_client_ca.clone(),
        })
    }
}

/// TLS of the uplink.
#[derive(Args, Clone, Debug)]
pub(crate) struct AggregatorTlsArgs {
    /// CA of the aggregator's certificate, PEM, for `--aggregator https://…`. Default: the system's CAs.
    #[arg(long, value_name = "FILE", requires = "aggregator")]
    pub aggregator_ca: Option<PathBuf>,
    /// The collector's own certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "aggregator_key")]
    pub aggregator_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "aggregator_cert")]
    pub aggregator_key: Option<PathBuf>,
    /// The name that the aggregator's certificate must have. Default: the URL's.
    #[arg(long, value_name = "NAME", requires = "aggregator")]
    pub aggregator_server_name: Option<String>,
}

impl AggregatorTlsArgs {
    /// What was given; none if nothing was.
    pub(crate) fn files(&self) -> Option<ClientFiles> {
        given(ClientFiles {
            authorities: self.aggregator_ca.iter().cloned().collect(),
            identity: identity(self.aggregator_cert.as_ref(), self.aggregator_key.as_ref()),
            server_name: self.aggregator_server_name.clone(),
        })
    }
}

/// TLS of those who ask: Hubble's flags.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClientTlsArgs {
    /// Use TLS, as with `tls://host:port`.
    #[arg(long)]
    pub tls: bool,
    /// CAs of the server's certificate, PEM. Default: the system's.
    #[arg(
        long,
        env = "WEIR_TLS_CA_CERT_FILES",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub tls_ca_cert_files: Vec<PathBuf>,
    /// Your certificate, PEM.
    #[arg(
        long,
        env = "WEIR_TLS_CLIENT_CERT_FILE",
        value_name = "FILE",
        requires = "tls_client_key_file"
    )]
    pub tls_client_cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(
        long,
        env = "WEIR_TLS_CLIENT_KEY_FILE",
        value_name = "FILE",
        requires = "tls_client_cert_file"
    )]
    pub tls_client_key_file: Option<PathBuf>,
    /// The name that the server's certificate must have. Default: the address's.
    #[arg(long, env = "WEIR_TLS_SERVER_NAME", value_name = "NAME")]
    pub tls_server_name: Option<String>,
}

impl ClientTlsArgs {
    /// What was given; none if nothing was.
    pub(crate) fn files(&self) -> Option<ClientFiles> {
        given(ClientFiles {
            authorities: self.tls_ca_cert_files.clone(),
            identity: identity(
                self.tls_client_cert_file.as_ref(),
                self.tls_client_key_file.as_ref(),
            ),
            server_name: self.tls_server_name.clone(),
        })
    }
}

fn given(files: ClientFiles) -> Option<ClientFiles> {
    (files != ClientFiles::default()).then_some(files)
}

fn identity(certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<IdentityFiles> {
    Some(IdentityFiles {
        certificate: certificate?.clone(),
        key: key?.clone(),
    })
}
