//! What can go wrong at the kernel border. Each message says what was being done, and what to do where we know.

use std::io;
use std::path::PathBuf;

use super::object::ObjectError;

/// An error of the kernel side.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The process lacks the capabilities to load and attach programs.
    #[error("missing {missing}: run weir as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    Capabilities {
        /// The capabilities that are missing, comma-separated.
        missing: String,
    },
    /// The kernel lacks what the programs need.
    #[error("kernel {release} is too old: weir needs Linux 5.15 or newer")]
    OldKernel {
        /// `uname -r`.
        release: String,
    },
    /// There is no bpf file system under the pin root and it could not be mounted.
    #[error("no bpf file system at {}: run `mount -t bpf bpf {}` ({source})", .path.display(), .path.display())]
    NoBpffs {
        /// Where it is expected.
        path: PathBuf,
        /// Why mounting it failed.
        source: io::Error,
    },
    /// The pin root lies outside every bpf file system.
    #[error("pin root {} is not on a bpf file system: use a directory under /sys/fs/bpf", .path.display())]
    PinRootElsewhere {
        /// The pin root.
        path: PathBuf,
    },
    /// Another collector holds the pin root.
    #[error("pin root {} is in use by {holder}: stop it, or give this collector another --pin-root", .path.display())]
    Locked {
        /// The pin root.
        path: PathBuf,
        /// `process 123`, or `another process`.
        holder: String,
    },
    /// This binary has no kernel programs.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel programs could not be parsed or loaded.
    #[error("loading the kernel programs: {0}")]
    Load(#[source] Box<aya::EbpfError>),
    /// One program was refused, usually by the verifier.
    #[error("loading kernel program {program}: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object has no such program or map: it belongs to another version.
    #[error("the kernel object has no {what} {name}: rebuild it with `cargo xtask build-ebpf`")]
    Missing {
        /// `program` or `map`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The ring with the programs' diagnostics.
    #[error("opening the kernel programs' log: {0}")]
    Log(#[source] aya_log::Error),
    /// A pinned map is not what this version expects.
    #[error("pinned map {}: {field} is {found}, this version wants {expected}: \
             run `weir collector --detach` (stops enforcement), or use another --pin-root", .path.display())]
    Layout {
        /// The pinned map.
        path: PathBuf,
        /// Which property differs.
        field: &'static str,
        /// As pinned.
        found: u32,
        /// As compiled in.
        expected: u32,
    },
    /// A map has no room. Nothing of the change that needed it is in force.
    #[error("map {map} is full")]
    Full {
        /// Its name.
        map: &'static str,
    },
    /// A map could not be read or written.
    #[error("{doing} map {map}: {source}")]
    Map {
        /// `reading`, `writing`, …
        doing: &'static str,
        /// Its name.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file or directory of the pin root.
    #[error("{doing} {}: {source}", .path.display())]
    Path {
        /// `creating`, `removing`, …
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be attached to, or replaced at, an interface.
    #[error("attaching {program} to interface {ifindex}: {reason}")]
    Attach {
        /// Its name.
        program: &'static str,
        /// The interface.
        ifindex: u32,
        /// Why.
        reason: String,
    },
    /// A helper program run by `BPF_PROG_TEST_RUN` failed.
    #[error("running kernel program {program}: {reason}")]
    Run {
        /// Its name.
        program: &'static str,
        /// Why.
        reason: String,
    },
}

impl KernelError {
    /// Whether the cause is that an interface does not exist (any more).
    pub fn is_device_gone(&self) -> bool {
        matches!(self, Self::Attach { reason, .. } if reason == super::links::DEVICE_GONE)
    }
}

/// Turns aya's map error into ours: full maps and plain system errors are told apart.
pub(super) fn map_error(
    doing: &'static str,
    map: &'static str,
    error: aya::maps::MapError,
) -> KernelError {
    use aya::maps::MapError;
    let source = match error {
        MapError::SyscallError(error) => error.io_error,
        MapError::KeyNotFound => io::Error::from_raw_os_error(libc::ENOENT),
        MapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    };
    io_error(doing, map, source)
}

/// The same for a plain system error.
pub(super) fn io_error(doing: &'static str, map: &'static str, source: io::Error) -> KernelError {
    match source.raw_os_error() {
        Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM) => KernelError::Full { map },
        _ => KernelError::Map { doing, map, source },
    }
}
