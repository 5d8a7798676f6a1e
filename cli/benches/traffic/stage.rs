//! The cluster and the collector under measurement.

use std::net::Ipv4Addr;

use weir_testkit::{Cluster, ClusterSpec, ManifestDir, Node, NodeSpec, Pod, PodSpec, Topology};

use super::common::collector::Collector;

/// Where the namespace of all pods lies.
pub(crate) const NAMESPACE: &str = "bench";
/// Addresses that nobody has; nodes drop what is sent there.
pub(crate) const NOWHERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// A cluster and its manifests.
pub(crate) struct Stage {
    pub(crate) manifests: ManifestDir,
    pub(crate) cluster: Cluster,
    directory: tempfile::TempDir,
}

impl Stage {
    /// Nodes with pods of these names, each pod labelled `app=<its name up to the dash>`.
    pub(crate) fn new(nodes: &[(&str, &[String])], policies: &str) -> Self {
        let spec = nodes
            .iter()
            .fold(ClusterSpec::new(Topology::Ptp), |spec, (name, pods)| {
                spec.node(pods.iter().fold(NodeSpec::new(name), |node, name| {
                    let app = name.split('-').next().unwrap_or(name);
                    node.pod(PodSpec::new(NAMESPACE, name).label("app", app))
                }))
            });
        let cluster = Cluster::create(&spec).unwrap();
        for node in cluster.nodes() {
            let nowhere = format!("route add blackhole {NOWHERE}/15");
            node.netns.ip(&[nowhere]).unwrap();
        }
        let manifests = ManifestDir::new().unwrap();
        manifests.put("cluster.yaml", &cluster.manifests()).unwrap();
        manifests.put("policies.yaml", policies).unwrap();
        Self {
            manifests,
            cluster,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.cluster.node(name).unwrap()
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        self.cluster.pod(NAMESPACE, name).unwrap()
    }

    /// Starts the release binary on a node, with its usual settings and a flow table of this size, and waits until all
    /// is in force.
    pub(crate) fn collector(&self, node: &str, table: u32) -> Collector {
        let node = self.node(node);
        let source = format!("--manifests={}", self.manifests.path().display());
        let table = format!("--flow-table-size={table}");
        Collector::start(node, self.directory.path(), &[&source, &table])
    }
}
