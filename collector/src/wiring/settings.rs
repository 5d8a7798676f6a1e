//! The parts that the settings decide about: where the cluster's state comes from, what the kernel's side is to be, and where
//! records go.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::CollectorError;
use crate::config::{Config, Scope, SourceConfig};
use crate::endpoints::EndpointsConfig;
use crate::export::otlp;
use crate::kernel::{Flavour, Limits, Options, Side};
use crate::source::{self, KubeSource, Manifests, Source};
use crate::state::StateDir;
use crate::telemetry::{OtelMetrics, OwnMetrics};
use crate::uplink::{self, Uplink};

/// Between two exports of the collector's own metrics.
const EXPORT_INTERVAL: Duration = Duration::from_secs(15);

/// Watching starts a thread: from one that has not the main thread's privileges.
pub(super) async fn open_manifests(config: &Config) -> Result<Option<Manifests>, CollectorError> {
    match (&config.source, &config.scope) {
        (SourceConfig::Manifests(path), _) => {
            let path = path.clone();
            let opened = spawn_blocking(move || Manifests::open(&path)).await;
            let opened = opened.map_err(|panic| CollectorError::Thread(io::Error::other(panic)))?;
            Ok(Some(opened?))
        }
        (SourceConfig::Api { .. }, Scope::Node) => Ok(None),
        (SourceConfig::Api { .. }, Scope::Sidecar { .. }) => Err(CollectorError::SidecarByApi),
    }
}

/// The node whose policies are needed: in sidecar mode the pod's own.
pub(super) fn node(config: &Config, manifests: Option<&Manifests>) -> Arc<str> {
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

pub(super) async fn source(
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

pub(super) fn options(config: &Config) -> Options {
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

pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        flows: config.flow_table_size,
        ..Limits::default()
    }
}

pub(super) fn endpoints_config(config: &Config) -> EndpointsConfig {
    let usual = EndpointsConfig::new(
        config.scope.clone(),
        config.pending,
        config.mode,
        &limits(config),
    );
    EndpointsConfig {
        mapping: config.mapping,
        ..usual
    }
}

pub(super) type Exports = (Option<Uplink>, Option<otlp::OtlpSink>, Option<OtelMetrics>);

pub(super) fn exports(
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
