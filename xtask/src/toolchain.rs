//! Finds a compiler and a linker for the kernel programs, or says what is missing and which command installs it.
//!
//! Two kinds of compiler serve: one that ships a ready `core` for the target (Debian's `rustc-web` with
//! `libstd-rust-web-dev-bpf`), or a rustup nightly with `rust-src`, which builds `core` itself. The versions that must
//! fit together are in `ebpf/toolchain.env` and nowhere else. Overrides, from the environment:
//!
//! - `WEIR_EBPF_TOOLCHAIN`: `debian`, or the name of a rustup toolchain. Default: the first of `debian`, `nightly` that is complete.
//! - `WEIR_EBPF_RUSTC`, `WEIR_EBPF_CARGO`: the compiler taken as `debian`. Default: `/usr/bin/rustc`, `/usr/bin/cargo`.
//! - `WEIR_EBPF_LINKER`: a bpf-linker of any version. Default: that on `PATH`, then that in cargo's bin directory.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The versions that fit together; shared with the Makefile's setup.
const VERSIONS: &str = include_str!("../../ebpf/toolchain.env");

/// A compiler and a linker that fit together.
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
    /// For people: which of the two kinds, and rustc's version.
    name: String,
}

/// How to get at rustc and cargo.
enum Compiler {
    /// Ships `core` for the target; a stable release, so unstable features need `RUSTC_BOOTSTRAP`.
    Prebuilt { rustc: PathBuf, cargo: PathBuf },
    /// Builds `core` from rust-src.
    Rustup { toolchain: String },
}

// === impl Toolchain ===

impl Toolchain {
    /// The toolchain that the environment names, or else the first complete one.
    pub(crate) fn find() -> Result<Self> {
        let compiler = match env::var("WEIR_EBPF_TOOLCHAIN") {
            Ok(name) if name == "debian" => Compiler::prebuilt()?,
            Ok(name) => Compiler::rustup(&name)?,
            Err(_) => Compiler::first_complete()?,
        };
        let about = output(compiler.rustc().arg("-vV"))?;
        check_llvm(&about)?;
        let release = about
            .lines()
            .find_map(|line| line.strip_prefix("release: "))
            .unwrap_or("of unknown version");
        let name = match &compiler {
            Compiler::Prebuilt { rustc, .. } => format!("{} {release}", rustc.display()),
            Compiler::Rustup { toolchain } => format!("rustup {toolchain}, rustc {release}"),
        };
        Ok(Self {
            compiler,
            linker: find_linker()?,
            name,
        })
    }

    /// `cargo build` of this toolchain.
    pub(crate) fn build(&self) -> Command {
        let mut command = match &self.compiler {
            Compiler::Prebuilt { cargo, .. } => Command::new(cargo),
            Compiler::Rustup { toolchain } => rustup_run(toolchain, "cargo"),
        };
        command.arg("build");
        command
    }

    /// `cargo clippy` of this toolchain; an error if it has none.
    pub(crate) fn clippy(&self) -> Result<Command> {
        let mut command = match &self.compiler {
            // By path: the one on `PATH` would belong to user space's toolchain, which has no core for the target.
            Compiler::Prebuilt { cargo, .. } => {
                let clippy = cargo.with_file_name("cargo-clippy");
                ensure!(
                    clippy.exists(),
                    "{} is missing: apt-get install rust-web-clippy",
                    clippy.display()
                );
                Command::new(clippy)
            }
            Compiler::Rustup { toolchain } => rustup_run(toolchain, "cargo"),
        };
        command.arg("clippy");
        Ok(command)
    }

    /// Tells `cargo` which rustc and linker to use, and where `core` comes from.
    pub(crate) fn configure(&self, cargo: &mut Command) {
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        match &self.compiler {
            Compiler::Prebuilt { rustc, cargo: path } => cargo
                .env("CARGO", path)
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1"),
            Compiler::Rustup { .. } => cargo.env("CARGO_UNSTABLE_BUILD_STD", "core"),
        };
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

// === impl Compiler ===

impl Compiler {
    fn first_complete() -> Result<Self> {
        let debian = match Self::prebuilt() {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        Self::rustup("nightly").map_err(|rustup| {
            anyhow!(
                "no toolchain for the kernel programs: run `make setup`\n  \
                 as debian: {debian}\n  as rustup nightly: {rustup}"
            )
        })
    }

    fn prebuilt() -> Result<Self> {
        let tool =
            |name, default| env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from);
        let rustc = tool("WEIR_EBPF_RUSTC", "/usr/bin/rustc");
        let cargo = tool("WEIR_EBPF_CARGO", "/usr/bin/cargo");
        let packages = "apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf";
        for path in [&rustc, &cargo] {
            ensure!(path.exists(), "{} is missing: {packages}", path.display());
        }
        let print = ["--print", "target-libdir", "--target", "bpfel-unknown-none"];
        let libdir = output(Command::new(&rustc).args(print))?;
        ensure!(
            has_core(Path::new(libdir.trim())),
            "{} has no core library for bpfel-unknown-none in {}: {packages}",
            rustc.display(),
            libdir.trim()
        );
        Ok(Self::Prebuilt { rustc, cargo })
    }

    fn rustup(toolchain: &str) -> Result<Self> {
        let install =
            format!("rustup toolchain install {toolchain} --profile minimal --component rust-src");
        let rustc = Self::Rustup {
            toolchain: toolchain.to_owned(),
        };
        let sysroot = output(rustc.rustc().args(["--print", "sysroot"]))
            .with_context(|| format!("no rustup toolchain {toolchain}: {install}"))?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
        ensure!(
            source.exists(),
            "toolchain {toolchain} has no rust-src: {install}"
        );
        Ok(rustc)
    }

    fn rustc(&self) -> Command {
        match self {
            Self::Prebuilt { rustc, .. } => Command::new(rustc),
            Self::Rustup { toolchain } => rustup_run(toolchain, "rustc"),
        }
    }
}

fn rustup_run(toolchain: &str, tool: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, tool]);
    command
}

fn has_core(libdir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(libdir) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// rustc hands LLVM bitcode to bpf-linker: with another LLVM there, linking fails with an unhelpful "Invalid record".
fn check_llvm(about_rustc: &str) -> Result<()> {
    let wanted = version_of("EBPF_LLVM")?;
    let found = about_rustc
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .unwrap_or("unknown");
    ensure!(
        found.split('.').next() == Some(wanted),
        "rustc uses LLVM {found}, bpf-linker is set up for LLVM {wanted}: set EBPF_LLVM in ebpf/toolchain.env and run `make setup`"
    );
    Ok(())
}

/// bpf-linker: the one named by the environment as it is, any other only in the right version.
fn find_linker() -> Result<PathBuf> {
    if let Some(named) = env::var_os("WEIR_EBPF_LINKER").map(PathBuf::from) {
        ensure!(
            named.exists(),
            "WEIR_EBPF_LINKER names {}, which does not exist",
            named.display()
        );
        return Ok(named);
    }
    let wanted = version_of("EBPF_LINKER")?;
    let Some(linker) = linker_candidates().find(|path| path.exists()) else {
        bail!(
            "bpf-linker is missing: run `make setup`, or {}",
            install_linker()?
        );
    };
    let about = output(Command::new(&linker).arg("--version"))?;
    let found = about.split_whitespace().last().unwrap_or("unknown");
    ensure!(
        found == wanted,
        "{} is version {found}, not {wanted}: run `make setup`, or {}",
        linker.display(),
        install_linker()?
    );
    Ok(linker)
}

fn linker_candidates() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let dirs: Vec<PathBuf> = env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .collect();
    dirs.into_iter().map(|dir| dir.join("bpf-linker"))
}

fn install_linker() -> Result<String> {
    let (llvm, version) = (version_of("EBPF_LLVM")?, version_of("EBPF_LINKER")?);
    Ok(format!(
        "apt-get install llvm-{llvm}-dev && LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo install bpf-linker \
         --version {version} --no-default-features --features llvm-{llvm}"
    ))
}

fn version_of(name: &str) -> Result<&'static str> {
    VERSIONS
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .with_context(|| format!("ebpf/toolchain.env does not set {name}"))
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
