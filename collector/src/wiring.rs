//! The wiring: every part of a collector made once, handed to those that need it, and run until the end.
//!
//! ```text
//!  manifests ─▶ policy state ─▶ endpoints ═▶ kernel ═▶ pipeline ─▶ recent ─▶ GetFlows
//!                    │                                    ├──────▶ metrics, OTLP
//!                    └─▶ names, nearest misses ──────────▶┘──────▶ uplink ─▶ aggregator
//! ```

mod error;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};
use weir_flow::Timestamp;
use weir_tls::{ServerFiles, ServerTls};

use crate::assemble::{Assembler, Timeouts};
use crate::boot;
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::kernel::{self, Kernel, KernelError, PinRoot};
use crate::names::Names;
use crate::pipeline::{Ledger, Pipeline, Sinks, StatusView};
use crate::policy_state::{self, Misses, PolicyReader, PolicyState};
use crate::privileges;
use crate::questions;
use crate::recent::Recent;
use crate::serve::{self, Observer, UnixSocket};
use crate::settling::Settling;
use crate::state::StateDir;
use crate::telemetry::{self, OtelMetrics, OwnMetrics, Telemetry};
use crate::uplink::Uplink;

pub use error::CollectorError;
use settings::{endpoints_config, exports, node, open_manifests, options, source};

/// Between two looks at what the uplink holds.
const UPLINK_INTERVAL: Duration = Duration::from_secs(5);

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
    let manifests = open_manifests(&config).await?;
    let listeners = listen(&config).await?;
    let state = StateDir::open(&config.state_dir)?;
    let kernel = Kernel::open(&PinRoot::new(&config.pin_root), &options(&config))?;
    privileges::keep_for_the_kernel()?; // before any thread is started
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
            let _stopped = spawn_blocking(move || otel.shutdown()).await;
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

async fn listen(config: &Config) -> Result<Listeners, CollectorError> {
    Ok(Listeners {
        tls: config.tls.clone().map(ServerFiles::load).transpose()?,
        api: serve::tcp("Hubble's API", "--listen", config.listen).await?,
        unix: serve::unix(&config.unix_socket)?,
        metrics: serve::tcp("metrics", "--metrics-listen", config.metrics_listen).await?,
    })
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
    let joined = spawn_blocking(move || thread.join()).await;
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
