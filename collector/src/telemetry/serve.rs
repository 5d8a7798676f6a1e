//! `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Telemetry;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the metrics until `shutdown`. `ready` turns true when the first policy state is in force.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let metrics = move || async move {
        ([(header::CONTENT_TYPE, OPENMETRICS)], telemetry.render()).into_response()
    };
    let readiness = move || async move {
        if ready.load(Ordering::Relaxed) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/readyz", get(readiness));
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}
