//! What can go wrong while a cluster is made, used or removed.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// An error of the testkit: what was being done, with what, and where possible what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not make network namespaces.
    #[error(
        "making network namespaces needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run it with sudo"
    )]
    NotRoot,

    /// A program that wires the cluster is absent.
    #[error("`{program}` is not installed: apt-get install {package}")]
    ProgramMissing {
        /// The program's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },

    /// A program that wires the cluster refused its input.
    #[error("`{program}` failed in namespace {netns} at `{input}`: {stderr}")]
    ProgramFailed {
        /// The program's name.
        program: &'static str,
        /// The namespace it was to change.
        netns: String,
        /// The line that failed, or the first line of the input.
        input: String,
        /// What the program said.
        stderr: String,
    },

    /// The kernel lacks what a topology needs.
    #[error("the kernel has no {feature}: {remedy}")]
    KernelMissing {
        /// What is absent.
        feature: &'static str,
        /// What to do.
        remedy: &'static str,
    },

    /// A file, socket or system call failed.
    #[error("cannot {action} {target}: {source}")]
    Io {
        /// The verb: "open", "mount", "connect to".
        action: &'static str,
        /// Its object.
        target: String,
        /// The system's reason.
        source: io::Error,
    },

    /// A name that Kubernetes would refuse, or that the cluster keeps for itself.
    #[error(
        "invalid {kind} name {name:?}: use at most 63 lower-case letters, digits and `-`, and none of `fabric`, `external`"
    )]
    InvalidName {
        /// What was to be named.
        kind: &'static str,
        /// The name.
        name: String,
    },

    /// Two of the same name.
    #[error("{kind} {name} exists twice")]
    Duplicate {
        /// What was to be named.
        kind: &'static str,
        /// The name.
        name: String,
    },

    /// The address plan is exhausted.
    #[error("no address left for one more {kind} (at most {limit})")]
    TooMany {
        /// What was to be added.
        kind: &'static str,
        /// How many fit.
        limit: usize,
    },

    /// Something was asked for that the cluster does not have.
    #[error("the cluster has no {kind} {name}")]
    NotFound {
        /// What was asked for.
        kind: &'static str,
        /// Its name.
        name: String,
    },

    /// A network plugin failed.
    #[error("CNI plugin {plugin} failed at {verb}: {said}")]
    Plugin {
        /// What it was to do.
        verb: &'static str,
        /// Its type.
        plugin: String,
        /// What it said.
        said: String,
    },

    /// Processes survive SIGKILL (stuck in the kernel): their namespace cannot go away.
    #[error("processes {pids:?} of cluster {id} are still there {waited:?} after SIGKILL")]
    ProcessesRemain {
        /// The cluster.
        id: String,
        /// The processes.
        pids: Vec<i32>,
        /// How long the teardown waited.
        waited: Duration,
    },

    /// A process did not print the awaited line in time.
    #[error("`{program}` did not print {needle:?} within {waited:?}; its last lines:\n{tail}")]
    LineMissing {
        /// The program.
        program: String,
        /// The text looked for.
        needle: String,
        /// How long was waited.
        waited: Duration,
        /// The end of its output.
        tail: String,
    },

    /// A process ended before it printed the awaited line.
    #[error("`{program}` ended ({status}) before it printed {needle:?}; its last lines:\n{tail}")]
    EndedEarly {
        /// The program.
        program: String,
        /// The text looked for.
        needle: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        tail: String,
    },
}

impl Error {
    /// For `map_err` on input and output: `cannot <action> <target>: <source>`.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        target: impl ToString,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            action,
            target: target.to_string(),
            source: source.into(),
        }
    }

    /// As [`Error::io`], for a path.
    pub(crate) fn path<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            target: path.display().to_string(),
            source: source.into(),
        }
    }
}
