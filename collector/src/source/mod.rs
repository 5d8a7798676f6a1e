//! Where cluster state comes from. A source hands over changes of it, the first time all of it; everything behind it is
//! the same, whether the state comes from a directory of manifests or from an API server.

mod dir;
mod kube;
mod manifests;

use std::sync::Arc;
use std::time::Instant;

use weir_policy::model::ObjectChange;

pub use self::dir::{DirError, ManifestDir, ManifestFile};
pub use self::kube::{ConnectError, KubeSource, Right, connect, rights};
pub use self::manifests::{Findings, Manifests, Refusal};

/// Changes that take effect together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// At most one of each object. They may change nothing.
    pub changes: Vec<ObjectChange>,
    /// When the first of them was known.
    pub since: Instant,
    /// What is refused at present and why, in words; its last good version stays in force.
    pub refused: Option<Arc<str>>,
}

/// Where cluster state comes from.
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub enum Source {
    /// A directory.
    Manifests(Manifests),
    /// An API server.
    Api(KubeSource),
}

impl Source {
    /// Waits for the next changes; the first ones are all objects of the cluster. None if there can be no more. May be
    /// dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Batch> {
        match self {
            Self::Manifests(manifests) => Some(manifests.next().await),
            Self::Api(api) => api.next().await,
        }
    }
}
