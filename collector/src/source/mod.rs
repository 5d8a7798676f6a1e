//! Where cluster state comes from. A source hands over whole states or changes of it; everything behind it is the
//! same, whether the state comes from a directory of manifests or from an API server.

mod dir;

pub use dir::{DirError, ManifestDir, ManifestFile};
