//! The wiring: listeners, services, and their end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightServiceServer;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use weir_flow::Timestamp;
use weir_flow::columns::MAX_FRAME_BYTES;
use weir_proto::observer::observer_server::ObserverServer;
use weir_proto::weir::v1::aggregator_server::AggregatorServer;
use weir_tls::{ServerFiles, ServerTls, TlsError};

use crate::config::Config;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::serve::{self, AggregatorStatus, Asked, Observer, Shared};
use crate::store::{Store, StoreError};

/// An aggregator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AggregatorError {
    /// The data directory cannot be used.
    #[error("data directory: {0}")]
    Store(#[from] StoreError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address or socket path.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A server failed.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The metrics server failed.
    #[error("serving metrics: {0}")]
    Metrics(#[source] io::Error),
}

/// Where an aggregator listens. Made before anything else, so that a port in use is the first thing said.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub api: TcpListener,
    /// TLS for it.
    pub tls: Option<ServerTls>,
    /// gRPC on a unix socket, and its path.
    pub unix: Option<(UnixListener, PathBuf)>,
    /// HTTP.
    pub metrics: Option<TcpListener>,
}

impl Listeners {
    /// Reads the certificates and binds the addresses of `config`.
    ///
    /// # Errors
    /// Names the file that cannot be used, or the address that is in use or not ours.
    pub async fn bind(config: &Config) -> Result<Self, AggregatorError> {
        let tls = config.tls.clone().map(ServerFiles::load).transpose()?;
        let api = bind(config.listen).await?;
        let metrics = match config.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let unix = match &config.unix_socket {
            Some(path) => Some((bind_unix(path)?, path.clone())),
            None => None,
        };
        Ok(Self {
            api,
            tls,
            unix,
            metrics,
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AggregatorError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| AggregatorError::Listen {
        address: address.to_string(),
        source,
    })
}

fn bind_unix(path: &Path) -> Result<UnixListener, AggregatorError> {
    let error = |source| AggregatorError::Listen {
        address: path.display().to_string(),
        source,
    };
    // A socket that nobody listens on is left over from a run that was killed.
    let is_socket = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).map_err(error)?;
    }
    UnixListener::bind(path).map_err(error)
}

/// Runs an aggregator until `shutdown` is cancelled; then takes no more, seals what it has, and returns.
///
/// # Errors
/// The data directory cannot be used, or a server fails.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), AggregatorError> {
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    if let Some(tls) = &listeners.tls {
        tls.register(registry.sub_registry_with_prefix("weir_aggregator"));
    }
    let store = Store::open(config.store, metrics.clone())?;
    let shared = Shared {
        nodes: Arc::new(Nodes::new(store.known_nodes())),
        store: store.clone(),
        asked: Asked::default(),
        metrics,
        started: Instant::now(),
        started_at: now(),
        stop: CancellationToken::new(),
    };
    let listen = listeners.api.local_addr().ok().map(tracing::field::display);
    tracing::info!(listen, "ready");
    let served = serve_all(&shared, registry, listeners, shutdown).await;
    store.close().await;
    served
}

fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_nanosecond();
    Timestamp(i64::try_from(now).unwrap_or(i64::MAX))
}

/// Time that open streams have to end.
const GRACE: Duration = Duration::from_secs(5);

async fn serve_all(
    shared: &Shared,
    registry: Registry,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), AggregatorError> {
    let routes = routes(shared).await;
    let stop = &shared.stop;
    let api = serve_tcp(routes.clone(), listeners.api, listeners.tls, stop);
    let unix = serve_unix(routes, listeners.unix, stop);
    let http = serve_http(shared, registry, listeners.metrics);
    let ended = async { tokio::try_join!(api, unix, http).map(|_| ()) };
    let overdue = async {
        shutdown.cancelled().await;
        stop.cancel();
        tokio::time::sleep(GRACE).await;
    };
    let served = tokio::select! {
        served = ended => served,
        () = overdue => {
            tracing::warn!("some clients did not end their streams, leaving them");
            Ok(())
        }
    };
    stop.cancel();
    served
}

async fn routes(shared: &Shared) -> Routes {
    let (health, health_service) = tonic_health::server::health_reporter();
    // Hubble's CLI asks for the first name, others for the service's own or for none.
    for name in ["hubble.server.Observer", "observer.Observer", ""] {
        health
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    let ingest = Ingest {
        store: shared.store.clone(),
        nodes: shared.nodes.clone(),
        metrics: shared.metrics.clone(),
        stop: shared.stop.clone(),
    };
    // A message is a part of a frame, and a little more than it.
    let flight = FlightServiceServer::new(ingest).max_decoding_message_size(MAX_FRAME_BYTES + 4096);
    let mut routes = Routes::builder();
    routes
        .add_service(health_service)
        .add_service(flight)
        .add_service(ObserverServer::new(Observer(shared.clone())))
        .add_service(AggregatorServer::new(AggregatorStatus(shared.clone())));
    routes.routes()
}

async fn serve_grpc<C>(
    routes: Routes,
    connections: impl Stream<Item = io::Result<C>>,
    stop: &CancellationToken,
) -> Result<(), AggregatorError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned())
        .await?;
    Ok(())
}

async fn serve_tcp(
    routes: Routes,
    listener: TcpListener,
    tls: Option<ServerTls>,
    stop: &CancellationToken,
) -> Result<(), AggregatorError> {
    match tls {
        Some(tls) => serve_grpc(routes, weir_tls::incoming(listener, tls), stop).await,
        None => serve_grpc(routes, TcpListenerStream::new(listener), stop).await,
    }
}

async fn serve_unix(
    routes: Routes,
    listener: Option<(UnixListener, PathBuf)>,
    stop: &CancellationToken,
) -> Result<(), AggregatorError> {
    let Some((listener, path)) = listener else {
        return Ok(());
    };
    let served = serve_grpc(routes, UnixListenerStream::new(listener), stop).await;
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "the socket stays behind");
    }
    served
}

async fn serve_http(
    shared: &Shared,
    registry: Registry,
    listener: Option<TcpListener>,
) -> Result<(), AggregatorError> {
    let Some(listener) = listener else {
        return Ok(());
    };
    let router = serve::router(shared.clone(), Arc::new(registry));
    axum::serve(listener, router)
        .with_graceful_shutdown(shared.stop.clone().cancelled_owned())
        .await
        .map_err(AggregatorError::Metrics)
}
