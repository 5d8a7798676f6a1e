//! What the collector serves: Hubble's Observer, health, and Weir's own service, over TCP and a unix socket.

mod explain;
mod flows;
mod listen;
mod node;
mod observer;
mod weir;

use std::io;

use futures::Stream;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use weir_proto::observer::observer_server::ObserverServer;
use weir_proto::weir::v1::collector_server::CollectorServer;
use weir_proto::weir::v1::node_server::NodeServer;
use weir_tls::ServerTls;

pub use explain::Explainer;
pub use listen::{ListenError, UnixSocket, tcp, unix};
pub use node::Node;
pub use observer::Observer;
pub use weir::Collector;

/// The names under which Hubble's clients ask for our health; they use `hubble.server.Observer`.
const HEALTH: [&str; 3] = ["", "observer.Observer", "hubble.server.Observer"];

/// All services as one router.
pub async fn routes(observer: Observer, collector: Collector) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in HEALTH {
        reporter
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    let mut routes = Routes::builder();
    routes
        .add_service(health)
        .add_service(ObserverServer::new(observer))
        .add_service(CollectorServer::new(collector));
    routes.routes()
}

/// The same and what only programs of this node may ask: for the unix socket.
pub fn node_routes(routes: Routes, node: Node) -> Routes {
    routes.add_service(NodeServer::new(node))
}

/// Serves on TCP, with TLS or without, until `shutdown`.
///
/// # Errors
/// If the server fails as a whole; a broken connection is no such failure.
pub async fn serve_tcp(
    listener: TcpListener,
    tls: Option<ServerTls>,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    match tls {
        Some(tls) => run(weir_tls::incoming(listener, tls), routes, shutdown).await,
        None => run(TcpListenerStream::new(listener), routes, shutdown).await,
    }
}

/// Serves on a unix socket until `shutdown`; then removes it.
///
/// # Errors
/// As [`serve_tcp`].
pub async fn serve_unix(
    socket: UnixSocket,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (listener, _file) = socket.into_parts();
    run(UnixListenerStream::new(listener), routes, shutdown).await
}

async fn run<S, C>(
    incoming: S,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    S: Stream<Item = io::Result<C>>,
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Connected + Unpin + Send + 'static,
{
    let serving = Server::builder()
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    // Live streams never end by themselves: they are cut a moment after the shutdown.
    tokio::select! {
        result = serving => result,
        () = async { shutdown.cancelled().await; tokio::time::sleep(LINGER).await } => Ok(()),
    }
}

/// How long answers that are on their way may take after the shutdown.
const LINGER: std::time::Duration = std::time::Duration::from_millis(500);
