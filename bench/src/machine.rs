//! The machine: what it is, whether it can be measured on, one core for the measurement.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, geteuid};

/// # Errors
///
/// Without root or without the JIT, whose absence would make every figure another.
pub(crate) fn check() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "loading kernel programs needs root: sudo cargo xtask bench"
    );
    let jit = "/proc/sys/net/core/bpf_jit_enable";
    match fs::read_to_string(jit) {
        Ok(text) if text.trim() == "0" => bail!("{jit} is 0: figures without the JIT mean nothing"),
        _ => Ok(()), // compiled in always, on many kernels: no file
    }
}

/// One line for the head of a report.
pub(crate) fn describe() -> String {
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "Machine: {cores} × {}, kernel {}, load {}",
        field(&cpuinfo, "model name").unwrap_or_else(|| "unknown CPU".to_owned()),
        kernel.trim(),
        fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default()
    )
}

/// Keeps this thread on the last core: interrupts and others tend to the first.
///
/// # Errors
///
/// If the kernel refuses.
pub(crate) fn pin() -> Result<()> {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let mut cores = CpuSet::new();
    cores.set(last).context("choosing a core")?;
    sched_setaffinity(Pid::from_raw(0), &cores).with_context(|| format!("pinning to core {last}"))
}

/// A kernel object that `cargo xtask build-ebpf` made.
///
/// # Errors
///
/// If it is not there.
pub(crate) fn object(name: &str) -> Result<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/bpf")
        .join(name);
    fs::read(&path)
        .with_context(|| format!("reading {}: run `cargo xtask build-ebpf`", path.display()))
}
