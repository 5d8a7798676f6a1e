//! `weir demo`: real traffic between network namespaces, a denied connection, why, and the repair.

mod print;
mod scenario;
mod sidecar;
mod stage;

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, bail};
use weir_testkit::{Cluster, Teardown, Topology};

use crate::args::{DemoArgs, TopologyArg};

/// How the demo came to its end.
enum End {
    /// It ran through, or failed.
    Finished(anyhow::Result<()>),
    /// Ctrl-C.
    Interrupted,
}

/// Runs the demo, and cleans up after it, also after Ctrl-C.
///
/// # Errors
/// Not root, a missing program, or a step that did not go as it must.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if !nix_is_root() {
        bail!(
            "the demo makes network namespaces and loads eBPF programs: run it as root (sudo weir demo)"
        );
    }
    Cluster::sweep_stale().context("cannot remove what an earlier demo left")?;
    let (sender, receiver) = mpsc::sync_channel(2);
    let interrupted = sender.clone();
    ctrl_c(move || drop(interrupted.send(End::Interrupted)))?;
    let topology = match args.topology {
        TopologyArg::Ptp => Topology::Ptp,
        TopologyArg::Bridge => Topology::Bridge,
    };
    let (spec, stay) = (
        if args.sidecar {
            sidecar::cluster()
        } else {
            scenario::cluster(topology)
        },
        args.keep,
    );
    let cluster =
        Cluster::create(&spec).context("cannot make the cluster of network namespaces")?;
    let teardown: Teardown = cluster.teardown();
    let play = if args.sidecar {
        sidecar::play
    } else {
        scenario::play
    };
    thread::Builder::new()
        .name("demo".into())
        .spawn(move || drop(sender.send(End::Finished(play(cluster, stay)))))
        .context("cannot start the demo")?;
    let end = receiver.recv().unwrap_or(End::Interrupted);
    teardown
        .run()
        .context("cannot remove the cluster of network namespaces")?;
    match end {
        End::Finished(result) => result.map(|()| ExitCode::SUCCESS),
        End::Interrupted => {
            print::note("removed all namespaces, links and pins");
            Ok(ExitCode::from(130))
        }
    }
}

fn nix_is_root() -> bool {
    // `caps` and friends are the collector's; here the effective user tells enough for a clear message.
    std::fs::metadata("/proc/self")
        .is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}

/// Calls `then` at the first Ctrl-C or SIGTERM.
fn ctrl_c(then: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot wait for signals")?;
    let (interrupt, terminate) = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        anyhow::Ok((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    })?;
    let wait = move || {
        runtime.block_on(async {
            let (mut interrupt, mut terminate) = (interrupt, terminate);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        then();
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .context("cannot wait for signals")?;
    Ok(())
}
