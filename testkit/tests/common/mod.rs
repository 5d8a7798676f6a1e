//! What the tests of real clusters share.

use weir_testkit::{Cluster, ClusterSpec};

/// The cluster, or nothing (and the reason printed) where the machine does not allow one.
pub(crate) fn cluster(spec: &ClusterSpec) -> Option<Cluster> {
    match Cluster::create(spec) {
        Ok(cluster) => Some(cluster),
        Err(error @ weir_testkit::Error::NotRoot) => {
            println!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
