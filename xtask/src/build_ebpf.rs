//! `cargo xtask build-ebpf`: compiles `ebpf/` and puts the objects where the collector's build script finds them.
//!
//! Cheap to call always: cargo decides what is stale, and an object whose bytes did not change is not touched, so that
//! nothing in user space is rebuilt for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::toolchain::Toolchain;
use crate::{report, workspace};

/// What `--target` and the output path say; also in `ebpf/.cargo/config.toml`, for builds by hand.
const TARGET: &str = "bpfel-unknown-none";

/// What the user's environment may hold for user space and must not reach the kernel build: another compiler, other
/// flags (which would replace those in `ebpf/.cargo/config.toml`), another place for the output.
const FOREIGN_ENV: [&str; 9] = [
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also build weir-log.o, with kernel diagnostics, for `weir collector --kernel-log`
    #[arg(long)]
    log: bool,
    /// Print instructions per program and bytes per section
    #[arg(long)]
    report: bool,
}

/// The objects.
#[derive(Clone, Copy)]
enum Flavour {
    /// What release builds embed: no diagnostics.
    Plain,
    /// The same programs with aya-log statements.
    Log,
    /// Other programs: what the bench compares Weir's with.
    Bench,
}

// === impl Flavour ===

impl Flavour {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["--bin", "weir"],
            Self::Log => &["--bin", "weir", "--features", "log"],
            Self::Bench => &["--bin", "bench"],
        }
    }

    fn object(self) -> PathBuf {
        workspace::ebpf_objects().join(match self {
            Self::Plain => "weir.o",
            Self::Log => "weir-log.o",
            Self::Bench => "bench.o",
        })
    }

    /// The binary target's name, and thus cargo's file's.
    fn binary(self) -> &'static str {
        match self {
            Self::Plain | Self::Log => "weir",
            Self::Bench => "bench",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let flavours: &[Flavour] = if args.log {
        &[Flavour::Plain, Flavour::Log, Flavour::Bench]
    } else {
        &[Flavour::Plain, Flavour::Bench]
    };
    for &flavour in flavours {
        let object = flavour.object();
        let built = build(&toolchain, flavour)?;
        let news = install(&built, &object)?;
        println!(
            "kernel programs: {} ({news}, {toolchain})",
            relative(&object).display()
        );
        if args.report {
            report::print(&object)?;
        }
    }
    Ok(())
}

/// `cargo xtask clippy-ebpf`: the kernel programs, with all features, through the clippy of their own toolchain.
pub(crate) fn clippy() -> Result<()> {
    let toolchain = Toolchain::find()?;
    let mut clippy = in_ebpf_crate(&toolchain, toolchain.clippy()?);
    run_to_success(clippy.args(["--all-features", "--", "-D", "warnings"]))
}

/// Compiles one flavour; the path of cargo's own output.
fn build(toolchain: &Toolchain, flavour: Flavour) -> Result<PathBuf> {
    let mut build = in_ebpf_crate(toolchain, toolchain.build());
    run_to_success(build.args(flavour.arguments()))?;
    Ok(target_dir()
        .join(TARGET)
        .join("release")
        .join(flavour.binary()))
}

/// Completes a cargo command with what every command on the kernel programs needs.
fn in_ebpf_crate(toolchain: &Toolchain, mut cargo: Command) -> Command {
    for name in FOREIGN_ENV {
        cargo.env_remove(name);
    }
    toolchain.configure(&mut cargo);
    cargo
        .current_dir(workspace::root().join("ebpf")) // for its .cargo/config.toml
        .args(["--locked", "--release", "--target", TARGET, "--target-dir"])
        .arg(target_dir());
    cargo
}

/// Cargo's output; the finished objects are copied from there.
fn target_dir() -> PathBuf {
    workspace::root().join("target/ebpf")
}

fn run_to_success(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("the kernel programs: {command:?} failed ({status})");
    }
    Ok(())
}

/// Copies `built` to `object` if the bytes differ; says which. By rename, so that no build script sees half a file.
fn install(built: &Path, object: &Path) -> Result<&'static str> {
    let bytes = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok("unchanged");
    }
    let dir = object.parent().context("an object's path has a parent")?;
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let partial = built.with_extension("partial");
    fs::write(&partial, &bytes).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, object)
        .with_context(|| format!("moving {} to {}", partial.display(), object.display()))?;
    Ok("new")
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix(workspace::root()).unwrap_or(path)
}
