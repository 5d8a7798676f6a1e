//! `cargo xtask bench`: builds `bench/` in release and runs it as root. The kernel objects are `build-ebpf`'s.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// For weir-bench: which benches, `--quick`; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(workspace::root())
        .args(["build", "--release", "--package", "weir-bench"]);
    finish(&mut build)?;
    let binary = target_dir().join("release/weir-bench");
    let mut bench = if is_root()? {
        Command::new(binary)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("-E").arg(binary);
        sudo
    };
    finish(bench.args(&args.arguments))
}

fn finish(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(())
}

fn target_dir() -> PathBuf {
    workspace::root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("reading /proc/self")?;
    Ok(own.uid() == 0)
}
