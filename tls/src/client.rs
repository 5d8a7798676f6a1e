//! The connecting side.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::files::{IdentityFiles, authorities, system_authorities};
use crate::reload::Reloaded;
use crate::{ALPN, TlsError};

/// Whom a client trusts, and what it proves itself with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// CAs of which the server must have its certificate; none for the system's.
    pub authorities: Vec<PathBuf>,
    /// The client's own certificate and key.
    pub identity: Option<IdentityFiles>,
    /// The name that the server's certificate must have; that of the address if none.
    pub server_name: Option<String>,
}

/// TLS of a client of one server.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    config: Arc<Reloaded<ClientConfig>>,
    name: ServerName<'static>,
}

impl ClientFiles {
    /// Reads the files. `host` is of the server's address.
    pub(crate) fn load(self, host: &str) -> Result<ClientTls, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        // An address in a URL is `[::1]`.
        let name = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName { name })?;
        let own = self.identity.iter().flat_map(IdentityFiles::paths);
        let files = self.authorities.iter().cloned().chain(own).collect();
        let config = Reloaded::load(files, Box::new(move || self.config()))?;
        Ok(ClientTls {
            config: Arc::new(config),
            name,
        })
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let roots = match self.authorities.as_slice() {
            [] => system_authorities()?,
            paths => authorities(paths)?,
        };
        let builder = ClientConfig::builder_with_provider(crate::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(identity.load()?),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

impl ClientTls {
    /// The handshake, with the files as they are now.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.config.refresh();
        let connector = TlsConnector::from(self.config.get());
        connector.connect(self.name.clone(), stream).await
    }
}
