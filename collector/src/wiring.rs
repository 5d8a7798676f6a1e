//! The wiring: every part of a collector made once, handed to those that need it, and run until the end.
//!
//! ```text
//!  manifests ─▶ policy state ─▶ endpoints ═▶ kernel ═▶ pipeline ─▶ recent ─▶ GetFlows
//!                    │                                    ├──────▶ metrics, OTLP
//!                    └─▶ names, nearest misses ──────────▶┘──────▶ uplink ─▶ aggregator
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};
use weir_flow::Timestamp;
use weir_tls::{ServerFiles, ServerTls, TlsError};

use crate::assemble::{Assembler, Timeouts};
use crate::boot;
use crate::config::{Config, Scope, SourceConfig};
use crate::endpoints::{Endpoints, EndpointsConfig, EndpointsError};
use crate::export::otlp::{self, OtlpError};
use crate::kernel::{self, Flavour, Kernel, KernelError, Limits, Options, PinRoot, Side};
use crate::names::Names;
use crate::pipeline::{Ledger, Pipeline, Sinks, StatusView};
use crate::policy_state::{self, Misses, PolicyReader, PolicyState, PolicyStateError};
use crate::questions;
use crate::recent::Recent;
use crate::serve::{self, ListenError, Observer, UnixSocket};
use crate::settling::Settling;
use crate::source::{self, ConnectError, KubeSource, Manifests, Refusal, Source};
use crate::state::{StateDir, StateError};
use crate::telemetry::{self, OtelError, OtelMetrics, OwnMetrics, Telemetry};
use crate::uplink::{self, Uplink, UplinkError};

/// Between two exports of the collector's own metrics.
const EXPORT_INTERVAL: Duration = Duration::from_secs(15);
/// Between two looks at what the uplink holds.
const UPLINK_INTERVAL: Duration = Duration::from_secs(5);

/// Why a collector cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// An address is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificates of the listener.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The first manifests.
    #[error("{0}")]
    Manifests(#[from] Refusal),
    /// The way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A sidecar needs manifests.
    #[error(
        "--sidecar needs --manifests DIR: a pod's own rights do not let it see the peers of its policies"
    )]
    SidecarByApi,
    /// The owner of the policy ended by itself.
    #[error("the owner of the policy has ended; what is in force stays")]
    PolicyEnded,
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// This machine, or its bpffs.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The endpoints.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The first policies.
    #[error(transparent)]
    Policy(#[from] PolicyStateError),
    /// The way to the aggregator.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// OTLP logs.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// OTLP metrics.
    #[error(transparent)]
    Otel(#[from] OtelError),
    /// The thread of the pipeline, or of the kernel log.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// A server ended.
    #[error("serving gRPC: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The metrics server ended.
    #[error("serving metrics: {0}")]
    Metrics(#[source] io::Error),
}

/// What the collector listens on.
struct Listeners {
    api: TcpListener,
    tls: Option<ServerTls>,
    unix: UnixSocket,
    metrics: TcpListener,
}

/// A collector, ready to run.
pub struct Collector {
    listeners: Listeners,
    routes: Routes,
    node_routes: Routes,
    telemetry: Telemetry,
    ready: Arc<AtomicBool>,
    policy: PolicyState,
    settling: Settling,
    pipeline: Pipeline,
    uplink: Option<Uplink>,
    otel: Option<OtelMetrics>,
    shutdown: CancellationToken,
}

/// Makes all parts. What an earlier run left in the kernel is adopted and stays in force; nothing is changed yet.
/// `shutdown` ends what works in the background.
///
/// # Errors
/// [`CollectorError`], in one line that says what to do.
#[expect(
    clippy::too_many_lines,
    reason = "the wiring diagram, to be read as one"
)]
pub async fn build(
    config: Config,
    shutdown: CancellationToken,
) -> Result<Collector, CollectorError> {
    let started = now();
    let manifests = open_manifests(&config)?;
    let listeners = listen(&config).await?;
    let state = StateDir::open(&config.state_dir)?;
    let kernel = Kernel::open(&PinRoot::new(&config.pin_root), &options(&config))?;
    if let Some(log) = kernel.log {
        log.start(shutdown.clone())
            .map_err(CollectorError::Thread)?;
    }
    let run = boot::next_run(&state, config.node.clone())?;
    let (telemetry, flow_metrics) = Telemetry::new();
    listeners.tls.iter().for_each(|tls| telemetry.add_tls(tls));
    let own = telemetry.own.clone();
    let names = Arc::new(Names::default());
    let clock = Arc::new(kernel.clock);
    let started_ns = clock.wall()?.monotonic_ns;
    let recent = Recent::new(config.recent_flows);
    let status = StatusView::default();
    let ready = Arc::new(AtomicBool::new(false));
    let reader = PolicyReader::default();

    let (uplink, otlp, otel) = exports(&config, &own, &shutdown)?;
    let endpoints = Endpoints::start(
        crate::endpoints::Parts {
            attacher: kernel.attacher,
            policy: kernel.policy,
            clock: clock.clone(),
            own: own.clone(),
        },
        state.clone(),
        endpoints_config(&config),
    )
    .await?;
    let view = endpoints.view.clone();
    let misses = Misses::new(reader.clone(), view.clone());
    let explainer = serve::Explainer {
        node: config.node.clone(),
        policies: reader.clone(),
    };
    if let Some(uplink) = &uplink {
        let answering = questions::answer(uplink.target(), explainer.clone(), shutdown.clone());
        tokio::spawn(answering);
    }
    let routes = serve::routes(
        Observer::new(recent.clone(), config.node.clone()),
        serve::Collector {
            node: config.node.clone(),
            mode: config.mode,
            started,
            explainer: explainer.clone(),
            policies: reader.clone(),
            endpoints: view.clone(),
            pipeline: status.clone(),
            uplink: uplink.clone(),
        },
    )
    .await;
    let node_routes = serve::node_routes(
        routes.clone(),
        serve::Node {
            node: config.node.clone(),
            posture: config.pending,
            attaching: endpoints.attaching(),
            endpoints: view.clone(),
            policies: reader.clone(),
        },
    );
    let settling = Settling {
        node: node(&config, manifests.as_ref()),
        policies: reader.clone(),
        endpoints: view.clone(),
    };
    let policy = PolicyState::open(policy_state::Parts {
        node: settling.node.clone(),
        source: source(&config, manifests, &own, &state).await?,
        endpoints,
        names: names.clone(),
        state: state.clone(),
        own: own.clone(),
        reader: reader.clone(),
    })?;
    let pipeline = Pipeline {
        rings: kernel.rings,
        tables: kernel.tables,
        counters: kernel.counters,
        clock,
        assembler: Assembler::new(
            run,
            config.intervals,
            Timeouts::default(),
            names.clone(),
            Box::new(misses),
            started_ns,
            config.flow_table_size as usize,
        ),
        ledger: Ledger::open(
            config.node,
            names.clone(),
            own.clone(),
            state,
            kernel.origin,
            started,
            |batch| uplink.as_ref().is_some_and(|uplink| uplink.has(batch)),
        )?,
        ready: ready.clone(),
        names,
        endpoints: view,
        sinks: Sinks {
            recent,
            metrics: flow_metrics,
            otlp,
            uplink: uplink.clone(),
        },
        own,
        status,
        sweep_interval: config.sweep_interval,
    };
    Ok(Collector {
        listeners,
        routes,
        node_routes,
        telemetry,
        ready,
        policy,
        settling,
        pipeline,
        uplink,
        otel,
        shutdown,
    })
}

impl Collector {
    /// Brings the policies into force, then records and serves until the shutdown. The programs stay attached.
    ///
    /// # Errors
    /// [`CollectorError`] if the first policies cannot be brought into force, or a part fails.
    pub async fn run(self) -> Result<(), CollectorError> {
        let shutdown = self.shutdown.clone();
        let _stop_the_rest = shutdown.clone().drop_guard();
        let pipeline = self.pipeline.start(shutdown.clone());
        let pipeline = pipeline.map_err(CollectorError::Thread)?;
        let mut servers: JoinSet<Result<(), CollectorError>> = JoinSet::new();
        let (routes, stop) = (self.routes, shutdown.clone());
        let listeners = self.listeners;
        let unix = serve::serve_unix(listeners.unix, self.node_routes, stop.clone());
        servers.spawn(async move { Ok(unix.await?) });
        let tcp = serve::serve_tcp(listeners.api, listeners.tls, routes, stop.clone());
        servers.spawn(async move { Ok(tcp.await?) });
        let own = self.telemetry.own.clone();
        let ready = self.ready.clone();
        let metrics = telemetry::serve(listeners.metrics, self.telemetry, ready, stop);
        servers.spawn(async move { metrics.await.map_err(CollectorError::Metrics) });
        if let Some(uplink) = self.uplink {
            tokio::spawn(watch_uplink(uplink, own, shutdown.clone()));
        }
        let ended = enforce(
            self.policy,
            self.settling,
            &self.ready,
            &mut servers,
            &shutdown,
        )
        .await;
        shutdown.cancel();
        join(pipeline).await;
        if let Some(otel) = self.otel {
            // Waits for its own export: not on this runtime's threads.
            let _stopped = tokio::task::spawn_blocking(move || otel.shutdown()).await;
        }
        ended
    }
}

/// Brings the first state into force, which an API server may be long in coming with, and follows it until the shutdown
/// or the first failure of a part.
async fn enforce(
    mut policy: PolicyState,
    settling: Settling,
    ready: &AtomicBool,
    servers: &mut JoinSet<Result<(), CollectorError>>,
    shutdown: &CancellationToken,
) -> Result<(), CollectorError> {
    let started = tokio::select! {
        started = shutdown.run_until_cancelled(policy.start()) => started,
        ended = first_error(servers) => return ended,
    };
    match started {
        None => return first_error(servers).await,
        Some(result) => result?,
    }
    let mut policy = tokio::spawn(policy.run(shutdown.clone()));
    shutdown.run_until_cancelled(settling.settled()).await;
    ready.store(true, Ordering::Relaxed);
    info!("ready");
    tokio::select! {
        ended = first_error(servers) => {
            shutdown.cancel();
            let _ended = policy.await;
            ended
        }
        _ended = &mut policy => {
            if shutdown.is_cancelled() {
                return first_error(servers).await;
            }
            Err(CollectorError::PolicyEnded)
        }
    }
}

/// Ends enforcement: detaches all programs and removes all pins under `root`.
///
/// # Errors
/// [`KernelError`], e.g. while a collector runs.
pub fn detach(root: &Path) -> Result<(), KernelError> {
    kernel::detach_all(&PinRoot::new(root))
}

fn open_manifests(config: &Config) -> Result<Option<Manifests>, CollectorError> {
    match (&config.source, &config.scope) {
        (SourceConfig::Manifests(path), _) => Ok(Some(Manifests::open(path)?)),
        (SourceConfig::Api { .. }, Scope::Node) => Ok(None),
        (SourceConfig::Api { .. }, Scope::Sidecar { .. }) => Err(CollectorError::SidecarByApi),
    }
}

/// The node whose policies are needed: in sidecar mode the pod's own.
fn node(config: &Config, manifests: Option<&Manifests>) -> Arc<str> {
    let (Scope::Sidecar { pod, .. }, Some(manifests)) = (&config.scope, manifests) else {
        return config.node.clone();
    };
    match manifests.cluster().pods.get(pod) {
        Some(pod) if !pod.node.is_empty() => pod.node.clone(),
        Some(_) => config.node.clone(),
        None => {
            warn!(%pod, "the sidecar's pod is in no manifest: it stays pending until it is");
            config.node.clone()
        }
    }
}

async fn source(
    config: &Config,
    manifests: Option<Manifests>,
    own: &OwnMetrics,
    state: &StateDir,
) -> Result<Source, CollectorError> {
    if let Some(manifests) = manifests {
        return Ok(Source::Manifests(manifests));
    }
    let kubeconfig = match &config.source {
        SourceConfig::Api { kubeconfig } => kubeconfig.as_deref(),
        SourceConfig::Manifests(_) => None,
    };
    let client = source::connect(kubeconfig).await?;
    let api = KubeSource::start(client, config.node.clone(), own.clone(), state.clone())?;
    Ok(Source::Api(api))
}

async fn listen(config: &Config) -> Result<Listeners, CollectorError> {
    Ok(Listeners {
        tls: config.tls.clone().map(ServerFiles::load).transpose()?,
        api: serve::tcp("Hubble's API", "--listen", config.listen).await?,
        unix: serve::unix(&config.unix_socket)?,
        metrics: serve::tcp("metrics", "--metrics-listen", config.metrics_listen).await?,
    })
}

fn options(config: &Config) -> Options {
    Options {
        limits: limits(config),
        method: config.attach,
        side: match config.scope {
            Scope::Node => Side::Host,
            Scope::Sidecar { .. } => Side::Pod,
        },
        flavour: match config.kernel_log {
            Some(level) => Flavour::Log(level),
            None => Flavour::Plain,
        },
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        flows: config.flow_table_size,
        ..Limits::default()
    }
}

fn endpoints_config(config: &Config) -> EndpointsConfig {
    EndpointsConfig::new(
        config.scope.clone(),
        config.pending,
        config.mode,
        &limits(config),
    )
}

type Exports = (Option<Uplink>, Option<otlp::OtlpSink>, Option<OtelMetrics>);

fn exports(
    config: &Config,
    own: &OwnMetrics,
    shutdown: &CancellationToken,
) -> Result<Exports, CollectorError> {
    let uplink = match &config.uplink {
        Some(settings) => {
            let directory = config.state_dir.join("spool");
            let uplink = uplink::Config {
                tls: settings.tls.clone(),
                max_bytes: settings.max_bytes,
                ..uplink::Config::new(settings.url.clone(), config.node.clone(), directory)
            };
            let (uplink, _sender) = Uplink::spawn(uplink, shutdown.clone())?;
            Some(uplink)
        }
        None => None,
    };
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok((uplink, None, None));
    };
    let logs = otlp::start(endpoint, config.node.clone(), shutdown.clone())?;
    let metrics = OtelMetrics::start(endpoint, &config.node, EXPORT_INTERVAL, own)?;
    Ok((uplink, Some(logs), Some(metrics)))
}

async fn watch_uplink(uplink: Uplink, own: OwnMetrics, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(UPLINK_INTERVAL);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        let unacked = i64::try_from(uplink.stats().unacked_bytes).unwrap_or(i64::MAX);
        own.uplink_unacked_bytes.set(unacked);
    }
}

/// Waits for all servers, which end at the shutdown, or for the first that fails.
async fn first_error(
    servers: &mut JoinSet<Result<(), CollectorError>>,
) -> Result<(), CollectorError> {
    while let Some(ended) = servers.join_next().await {
        match ended {
            Ok(result) => result?,
            Err(panic) => warn!(%panic, "a server ended"),
        }
    }
    Ok(())
}

async fn join(thread: JoinHandle<()>) {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    if !matches!(joined, Ok(Ok(()))) {
        warn!("the pipeline's thread panicked");
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }))
}
