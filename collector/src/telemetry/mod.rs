//! Metrics: what flows through this node (Prometheus, `/metrics`), and how the collector itself fares (the same
//! gauges, also through the OpenTelemetry SDK when an OTLP endpoint is set).

mod flows;
mod otel;
mod own;
mod serve;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use weir_tls::ServerTls;

pub use flows::FlowMetrics;
pub use otel::{OtelError, OtelMetrics};
pub use own::{MapFill, OwnMetrics, RingLabel};
pub use serve::serve;

/// All metrics of a collector, and the registry that renders them.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Mutex<Registry>>,
    /// How the collector fares.
    pub own: OwnMetrics,
}

impl Telemetry {
    /// Metrics with the prefix `weir_`. The flow metrics are handed out once, to the pipeline that feeds them.
    pub fn new() -> (Self, FlowMetrics) {
        let mut registry = Registry::with_prefix("weir");
        let flows = FlowMetrics::register(&mut registry);
        let own = OwnMetrics::register(&mut registry);
        (
            Self {
                registry: Arc::new(Mutex::new(registry)),
                own,
            },
            flows,
        )
    }

    /// Adds what is counted of a listener's TLS.
    pub fn add_tls(&self, tls: &ServerTls) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        tls.register(&mut registry);
    }

    /// The OpenMetrics text of all metrics.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _infallible = encode(&mut text, &registry);
        text
    }
}
