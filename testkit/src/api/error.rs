//! What can go wrong between a test and its API server.

use std::{io, time::Duration};

use super::{Resource, Stats};

/// An error of the fake API server's own interface; what its clients are told is a `Status` of Kubernetes.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A socket, thread or file.
    #[error("cannot {action} {target}: {source}")]
    Io {
        /// The verb: "listen on", "read".
        action: &'static str,
        /// Its object.
        target: String,
        /// The system's reason.
        source: io::Error,
    },

    /// The namespace to listen in.
    #[error(transparent)]
    NetNs(#[from] crate::Error),

    /// Text that is no YAML, or not what it should be.
    #[error("{origin}: {source}")]
    Yaml {
        /// The file, or what the text was given for.
        origin: String,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },

    /// An object of a kind that the server does not have.
    #[error("the API server has no {api_version} {kind:?}")]
    UnknownKind {
        /// The object's `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },

    /// An object without `metadata.name`.
    #[error("a {kind} has no metadata.name")]
    NoName {
        /// Its kind.
        kind: &'static str,
    },

    /// An object of the whole cluster that says it is in a namespace.
    #[error("{kind} {name} has a namespace, but its kind has none")]
    NotNamespaced {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },

    /// Something that is not there.
    #[error("there is no {} {namespace}/{name}", .resource.kind())]
    NotFound {
        /// Its resource.
        resource: Resource,
        /// Its namespace; empty for objects of the cluster.
        namespace: String,
        /// Its name.
        name: String,
    },

    /// A binding to a role that the text does not have.
    #[error("{binding} refers to {role}, which is not there")]
    NoSuchRole {
        /// The binding.
        binding: String,
        /// The role.
        role: String,
    },

    /// What a test waited for did not come.
    #[error("waited {waited:?} in vain; the server has seen {stats:?}")]
    Waited {
        /// How long.
        waited: Duration,
        /// What there was instead.
        stats: Box<Stats>,
    },
}

impl ApiError {
    pub(super) fn io(
        action: &'static str,
        target: impl ToString,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            target: target.to_string(),
            source,
        }
    }
}
