//! Connections to collectors and aggregators, over TCP or a unix socket.

use std::time::Duration;

use anyhow::{Context, anyhow};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::args::ServerAddress;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server.
///
/// # Errors
/// Nobody listens there; the error names the address.
pub(crate) async fn connect(server: &ServerAddress) -> anyhow::Result<Channel> {
    let channel = match server {
        ServerAddress::Tcp(address) => {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .with_context(|| format!("`{address}` is no address"))?;
            endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await
        }
        ServerAddress::Unix(path) => {
            let path = path.clone();
            // The URI is not used for a unix socket, but gRPC wants one.
            let endpoint =
                Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT);
            let dial = service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(dial).await
        }
    };
    channel.map_err(|error| {
        anyhow!(
            "cannot connect to {server}: {}; is it running, and is this its address?",
            root_cause(&error)
        )
    })
}

/// tonic says "transport error" and hides what happened below it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

/// A status in one line.
pub(crate) fn refusal(server: &ServerAddress, status: &tonic::Status) -> anyhow::Error {
    anyhow!("{server}: {} ({:?})", status.message(), status.code())
}
