//! `/metrics`, and what the kubelet asks: its probes do not speak TLS to gRPC.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::Shared;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The HTTP endpoints.
pub(crate) fn router(shared: Shared, registry: Arc<Registry>) -> Router {
    let stop = shared.stop.clone();
    let ready = move || {
        let answer = ready(&stop);
        async move { answer }
    };
    let metrics = move || {
        let answer = metrics(&shared, &registry);
        async move { answer }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
}

/// The log was read before anything is served: ready until the end.
fn ready(stop: &CancellationToken) -> (StatusCode, &'static str) {
    if stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

fn metrics(shared: &Shared, registry: &Registry) -> Response {
    let nodes = shared.nodes.list();
    let connected = nodes.iter().filter(|(_, node)| node.is_connected()).count();
    shared.metrics.observe(&shared.store.sizes(), connected);
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[test]
fn it_is_ready_until_it_stops() {
    let stop = CancellationToken::new();
    assert_eq!(ready(&stop).0, StatusCode::OK);
    stop.cancel();
    assert_eq!(ready(&stop).0, StatusCode::SERVICE_UNAVAILABLE);
}
