//! What goes wrong, as the CNI specification wants it said.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// Why the plugin did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CniError {
    /// The specification's version.
    #[error("cniVersion {asked} is not supported: this plugin speaks {}", super::VERSIONS.join(", "))]
    Version {
        /// What the configuration says.
        asked: String,
    },
    /// The environment.
    #[error("{variable}: {problem}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Standard input.
    #[error("reading the network's configuration from stdin: {source}")]
    Input {
        /// Why not.
        source: io::Error,
    },
    /// It is no JSON.
    #[error("the network's configuration is no JSON: {0}")]
    Json(serde_json::Error),
    /// A key of it.
    #[error("the network's configuration: {0}")]
    Config(String),
    /// The sandbox's network namespace.
    #[error("cannot enter the network namespace {} of the sandbox: {source}", .path.display())]
    Netns {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The sandbox's interface and its other end.
    #[error("{0}")]
    Link(String),
    /// The collector says no.
    #[error("{pod}, interface {interface}: the collector refuses: {reason}")]
    Refused {
        /// Whose.
        pod: String,
        /// The node's end.
        interface: String,
        /// Its words.
        reason: String,
    },
    /// It took too long.
    #[error("{pod}, interface {interface}: {awaited} did not come within {waited:?} ({last})")]
    TimedOut {
        /// Whose.
        pod: String,
        /// The node's end.
        interface: String,
        /// What was waited for.
        awaited: &'static str,
        /// How long.
        waited: Duration,
        /// What was last heard.
        last: String,
    },
    /// STATUS: pods cannot be started.
    #[error("no collector answers at {}: {reason}", .socket.display())]
    NotAvailable {
        /// Its socket.
        socket: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The runtime could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

impl CniError {
    /// The specification's number for it; from 100 on they are the plugin's own.
    fn code(&self) -> u32 {
        match self {
            Self::Version { .. } => 1,
            Self::Netns { source, .. } if source.kind() == io::ErrorKind::NotFound => 3,
            Self::Environment { .. } => 4,
            Self::Input { .. } | Self::Start(_) | Self::Netns { .. } => 5,
            Self::Json(_) => 6,
            Self::Config(_) => 7,
            Self::TimedOut { .. } => 11,
            Self::NotAvailable { .. } => 50,
            Self::Link(_) => 100,
            Self::Refused { .. } => 101,
        }
    }

    /// As the runtime reads it.
    pub(crate) fn to_json(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "code": self.code(),
            "msg": format!("{}: {self}", super::PLUGIN),
            "details": "",
        })
    }
}
