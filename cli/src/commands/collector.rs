//! `weir collector`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use weir_collector::assemble::Intervals;
use weir_collector::config::{
    AttachMethod, Config, LogLevel, PodMapping, Posture, Scope, SourceConfig, UplinkConfig,
};
use weir_collector::wiring;
use weir_flow::Mode;
use weir_policy::model::Name;

use super::shutdown_on_signals;
use crate::args::{AttachArg, CollectorArgs, KernelLogArg, MappingArg, ModeArg, PendingArg};

/// Runs the node agent until SIGTERM or SIGINT; the programs go on enforcing. With `--detach`, ends enforcement.
///
/// # Errors
/// In one line: what is missing on this machine, in use, or wrong in the manifests.
pub(crate) async fn run(args: &CollectorArgs) -> anyhow::Result<()> {
    if args.detach {
        wiring::detach(&args.pin_root)?;
        tracing::info!(pin_root = %args.pin_root.display(), "detached: nothing is enforced any more");
        return Ok(());
    }
    let shutdown = shutdown_on_signals()?;
    wiring::build(config(args)?, shutdown).await?.run().await?;
    tracing::info!("stopped; the programs in the kernel go on enforcing (end that with --detach)");
    Ok(())
}

fn config(args: &CollectorArgs) -> anyhow::Result<Config> {
    let source = match &args.manifests {
        Some(directory) => SourceConfig::Manifests(directory.clone()),
        None => SourceConfig::Api {
            kubeconfig: args.kubeconfig.clone(),
        },
    };
    Ok(Config {
        node: node(args)?,
        source,
        scope: scope(args)?,
        mode: match args.mode {
            ModeArg::Enforce => Mode::Enforce,
            ModeArg::Audit => Mode::Audit,
            ModeArg::Observe => Mode::Observe,
        },
        pending: match args.pending {
            PendingArg::Allow => Posture::Allow,
            PendingArg::Deny => Posture::Deny,
        },
        mapping: match args.map_pods_by {
            MappingArg::Address => PodMapping::Address,
            MappingArg::Cgroup => PodMapping::Cgroup,
        },
        attach: match args.attach {
            AttachArg::Auto => AttachMethod::Auto,
            AttachArg::Tcx => AttachMethod::Tcx,
            AttachArg::Clsact => AttachMethod::Clsact,
        },
        pin_root: args.pin_root.clone(),
        state_dir: args.state_dir.clone(),
        listen: args.listen,
        tls: args.tls.files(),
        unix_socket: args.unix_socket.clone(),
        metrics_listen: args.metrics_listen,
        uplink: args.aggregator.clone().map(|url| UplinkConfig {
            url,
            tls: args.aggregator_tls.files(),
            max_bytes: args.uplink_bytes.0,
        }),
        otlp_endpoint: args.otlp_endpoint.clone(),
        recent_flows: args.recent_flows as usize,
        intervals: Intervals {
            update: args.update_interval.0,
            // Denials are worth knowing sooner than counts of what passes.
            denial: Intervals::default().denial.min(args.update_interval.0),
        },
        sweep_interval: args.sweep_interval.0.max(SHORTEST_SWEEP),
        flow_table_size: args.flow_table_size,
        kernel_log: args.kernel_log.map(|level| match level {
            KernelLogArg::Warn => LogLevel::Warn,
            KernelLogArg::Debug => LogLevel::Debug,
            KernelLogArg::Trace => LogLevel::Trace,
        }),
    })
}

/// Sweeping more often than the rings are read finds nothing new.
const SHORTEST_SWEEP: Duration = Duration::from_millis(20);

fn node(args: &CollectorArgs) -> anyhow::Result<Arc<str>> {
    if let Some(node) = &args.node {
        return Ok(node.as_str().into());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.context("cannot read the host name: give --node")?;
    Ok(name.trim().into())
}

fn scope(args: &CollectorArgs) -> anyhow::Result<Scope> {
    let Some(pod) = &args.sidecar else {
        return Ok(Scope::Node);
    };
    let pod: Name = pod
        .parse()
        .map_err(|error: String| anyhow::anyhow!("--sidecar: {error}"))?;
    Ok(Scope::Sidecar {
        pod,
        interface: args.interface.clone(),
    })
}
