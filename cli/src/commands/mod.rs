//! What each subcommand does.

pub(crate) mod aggregator;
pub(crate) mod collector;
pub(crate) mod explain;
pub(crate) mod observe;
pub(crate) mod policy;
pub(crate) mod status;

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use weir_collector::privileges;

/// Runs a command's future to its end. Only this thread keeps the process' capabilities: the workers speak to the network.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(privileges::keep_for_a_worker)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    // A task that hangs must not keep the process.
    runtime.shutdown_background();
    result
}

/// A token that is cancelled by SIGTERM or SIGINT.
///
/// # Errors
/// If signals cannot be waited for.
pub(crate) fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
