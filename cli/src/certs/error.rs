//! Why there are no certificates.

use std::io;
use std::path::PathBuf;

use weir_collector::source::ConnectError;

/// What a CA cannot be used for.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertsError {
    /// A file or directory.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The CA that is there.
    #[error(
        "the CA in {place} cannot be used: {reason}; repair it, or delete it and all certificates to begin anew"
    )]
    Authority { place: String, reason: String },
    /// A name that cannot be in a certificate, and whatever else rcgen refuses.
    #[error("cannot make a certificate for {whose}: {source}")]
    Issue {
        whose: &'static str,
        #[source]
        source: rcgen::Error,
    },
    /// The way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server says no.
    #[error("cannot {verb} {place}: {source}")]
    Api {
        verb: &'static str,
        place: String,
        #[source]
        source: kube::Error,
    },
    /// A Secret that is somebody else's.
    #[error("{place} is not weir's: {reason}; delete it, or keep the certificates as they were")]
    Foreign { place: String, reason: String },
    /// Somebody else changed the same Secret at the same time.
    #[error("{place} is changed by somebody else all the time")]
    Overtaken { place: String },
}
