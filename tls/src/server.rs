//! The listening side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::files::{IdentityFiles, authorities};
use crate::reload::Reloaded;
use crate::{ALPN, TlsError};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(60);

/// What a server proves itself with, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Its certificate and key.
    pub identity: IdentityFiles,
    /// CAs of which a client must have a certificate. Without, everybody is let in.
    pub client_ca: Option<PathBuf>,
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<Reloaded<ServerConfig>>,
    pub(crate) look: Duration,
    pub(crate) failed_handshakes: Counter,
}

impl ServerFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn load(self) -> Result<ServerTls, TlsError> {
        let files = self.identity.paths().into_iter();
        let files = files.chain(self.client_ca.clone()).collect();
        let config = Reloaded::load(files, Box::new(move || self.config()))?;
        Ok(ServerTls {
            config: Arc::new(config),
            look: LOOK,
            failed_handshakes: Counter::default(),
        })
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(crate::provider())
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(std::slice::from_ref(path))?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, crate::provider());
                let verifier = verifier.build().map_err(|error| TlsError::Certificate {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(self.identity.load()?);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Every connection shows its certificate anew: one that is no longer trusted is not let in by an old session.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl ServerTls {
    /// With another time between two looks at the files than a minute.
    #[must_use]
    pub fn looking_every(self, look: Duration) -> Self {
        Self { look, ..self }
    }

    /// Registers its counters.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tls_reload_failures",
            "New certificate files that could not be used",
            self.config.failures.clone(),
        );
        registry.register(
            "tls_handshake_failures",
            "Connections that were ended during the TLS handshake",
            self.failed_handshakes.clone(),
        );
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.config.get()
    }

    pub(crate) fn refresh(&self) {
        self.config.refresh();
    }
}
