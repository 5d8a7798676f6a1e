//! `weir aggregator`.

use weir_aggregator::store::StoreConfig;
use weir_aggregator::{Config, Listeners};

use super::shutdown_on_signals;
use crate::args::AggregatorArgs;

/// Runs the aggregator until SIGTERM or SIGINT.
///
/// # Errors
/// An address in use, a data directory that cannot be used.
pub(crate) async fn run(args: &AggregatorArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signals()?;
    let config = Config {
        listen: args.listen,
        tls: args.tls.files(),
        unix_socket: args.unix_socket.clone(),
        metrics: Some(args.metrics_listen),
        store: StoreConfig {
            recent_max_bytes: args.recent_bytes.0,
            seal_after: args.seal_interval.0,
            ..StoreConfig::new(args.data_dir.clone())
        },
    };
    let listeners = Listeners::bind(&config).await?;
    weir_aggregator::run(config, listeners, shutdown).await?;
    Ok(())
}
