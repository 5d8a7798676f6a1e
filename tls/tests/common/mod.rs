//! CAs, certificates in files, and a gRPC server behind them.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use weir_tls::{ClientFiles, IdentityFiles, ServerFiles, ServerTls, Target, status_cause};

/// Generous: tests run on busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A CA, its certificate in a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let file = directory.join(format!("{name}.crt"));
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(&file, certificate.pem()).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// Writes a certificate and its key.
    pub(crate) fn issue(&self, directory: &Path, name: &str) -> IdentityFiles {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue_with(directory, name, params)
    }

    pub(crate) fn issue_with(
        &self,
        directory: &Path,
        name: &str,
        params: CertificateParams,
    ) -> IdentityFiles {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = IdentityFiles {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        fs::write(&files.key, key.serialize_pem()).expect("written");
        fs::write(&files.certificate, certificate.pem()).expect("written");
        files
    }
}

/// A server that looks at its files all the time.
pub(crate) fn server(identity: &IdentityFiles, client_ca: Option<&Authority>) -> ServerTls {
    let files = ServerFiles {
        identity: identity.clone(),
        client_ca: client_ca.map(|authority| authority.file.clone()),
    };
    let tls = files.load().expect("certificates");
    tls.looking_every(Duration::from_millis(10))
}

/// Serves gRPC's health service until the runtime ends.
pub(crate) async fn serve(tls: Option<ServerTls>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_, health) = tonic_health::server::health_reporter();
    let router = Server::builder().add_service(health);
    tokio::spawn(async move {
        match tls {
            Some(tls) => {
                let connections = weir_tls::incoming(listener, tls);
                router.serve_with_incoming(connections).await
            }
            None => {
                let connections = tonic::transport::server::TcpIncoming::from(listener);
                router.serve_with_incoming(connections).await
            }
        }
        .expect("serving");
    });
    address
}

/// Trust in an authority, and one's own certificate.
pub(crate) fn files(trusted: &Authority, identity: Option<&IdentityFiles>) -> ClientFiles {
    ClientFiles {
        authorities: vec![trusted.file.clone()],
        identity: identity.cloned(),
        server_name: None,
    }
}

/// The server at an address by the name that its certificate has.
pub(crate) fn target(address: SocketAddr, files: ClientFiles) -> Target {
    let url = format!("https://localhost:{}", address.port());
    Target::new(&url, Some(files), |endpoint| endpoint).expect("a target")
}

/// Connects and asks for the server's health; says why not.
pub(crate) async fn ask(target: &Target) -> Result<(), String> {
    let channel = target.connect().await?;
    let asked = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    asked.map(drop).map_err(|status| status_cause(&status))
}
