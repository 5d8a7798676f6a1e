//! The collector's own metrics through the OpenTelemetry SDK, pushed by OTLP.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use thiserror::Error;

use super::OwnMetrics;

/// Why the exporter could not be made.
#[derive(Debug, Error)]
pub enum OtelError {
    /// The endpoint is no usable address.
    #[error("cannot export metrics to {endpoint}: {source}")]
    Exporter {
        /// As given.
        endpoint: String,
        /// What the SDK said.
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// Keeps the periodic export going; flushes when shut down.
pub struct OtelMetrics(SdkMeterProvider);

impl OtelMetrics {
    /// Begins to push `own` to `endpoint` (`http://host:4317`) every `interval`. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`OtelError::Exporter`] if the endpoint cannot be used.
    pub fn start(
        endpoint: &str,
        node: &str,
        interval: Duration,
        own: &OwnMetrics,
    ) -> Result<Self, OtelError> {
        let exporter = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()
            .map_err(|source| OtelError::Exporter {
                endpoint: endpoint.to_owned(),
                source,
            })?;
        let resource = Resource::builder()
            .with_service_name("weir-collector")
            .with_attribute(KeyValue::new("k8s.node.name", node.to_owned()))
            .build();
        let reader = PeriodicReader::builder(exporter)
            .with_interval(interval)
            .build();
        let provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(resource)
            .build();
        observe(&provider, own);
        Ok(Self(provider))
    }

    /// Pushes what is left and stops.
    pub fn shutdown(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "last metrics were not exported");
        }
    }
}

/// One observable instrument for each of the collector's own gauges; the values are those of `/metrics`.
fn observe(provider: &SdkMeterProvider, own: &OwnMetrics) {
    let meter = provider.meter("weir");
    let events = own.events.clone();
    meter
        .u64_observable_counter("weir.ring.events")
        .with_callback(move |seen| seen.observe(events.get(), &[]))
        .build();
    let records = own.records.clone();
    meter
        .u64_observable_counter("weir.records")
        .with_callback(move |seen| seen.observe(records.get(), &[]))
        .build();
    let errors = own.policy_errors.clone();
    meter
        .u64_observable_counter("weir.policy.errors")
        .with_callback(move |seen| seen.observe(errors.get(), &[]))
        .build();
    let revision = own.policy_revision.clone();
    meter
        .i64_observable_gauge("weir.policy.revision")
        .with_callback(move |seen| seen.observe(revision.get(), &[]))
        .build();
    let unacked = own.uplink_unacked_bytes.clone();
    meter
        .i64_observable_gauge("weir.uplink.unacked")
        .with_unit("By")
        .with_callback(move |seen| seen.observe(unacked.get(), &[]))
        .build();
}
