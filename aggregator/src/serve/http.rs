//! `/metrics` and `/healthz`.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::Shared;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The HTTP endpoints.
pub(crate) fn router(shared: Shared, registry: Arc<Registry>) -> Router {
    let metrics = move || {
        let answer = metrics(&shared, &registry);
        async move { answer }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
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
