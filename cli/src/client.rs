//! Connections to collectors and aggregators, over TCP, with TLS or without, or a unix socket.

use std::time::Duration;

use anyhow::{anyhow, bail};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use weir_tls::{Target, cause, status_cause};

use crate::args::{ClientTlsArgs, ServerAddress};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server.
///
/// # Errors
/// Certificates that cannot be used or are for nothing, or nobody listens there; the error names the file or the address.
pub(crate) async fn connect(
    server: &ServerAddress,
    tls: &ClientTlsArgs,
) -> anyhow::Result<Channel> {
    let settings = |endpoint: Endpoint| endpoint.connect_timeout(CONNECT_TIMEOUT);
    let channel = match server {
        ServerAddress::Tcp(address) if !tls.tls => {
            if tls.files().is_some() {
                bail!(
                    "--tls-… options, and {address} is asked without TLS: give --tls, or --server tls://{address}"
                );
            }
            let target = Target::new(&format!("http://{address}"), None, settings)?;
            target.connect().await
        }
        ServerAddress::Tcp(address) | ServerAddress::Tls(address) => {
            let target = Target::new(&format!("https://{address}"), tls.files(), settings)?;
            target.connect().await
        }
        ServerAddress::Unix(path) => {
            let path = path.clone();
            // The URI is not used for a unix socket, but gRPC wants one.
            let endpoint = settings(Endpoint::from_static("http://localhost"));
            let dial = service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let connected = endpoint.connect_with_connector(dial).await;
            connected.map_err(|error| cause(&error))
        }
    };
    channel.map_err(|error| {
        anyhow!("cannot connect to {server}: {error}; is it running, and is this its address?")
    })
}

/// A status in one line.
pub(crate) fn refusal(server: &ServerAddress, status: &tonic::Status) -> anyhow::Error {
    anyhow!("{server}: {} ({:?})", status_cause(status), status.code())
}
