//! The node with its pods, the API server with the whole cluster, and the collector that follows it.

use std::net::IpAddr;

use weir_testkit::api::ApiServer;
use weir_testkit::{Cluster, ClusterSpec, Node, NodeSpec, PodSpec, Topology};

use super::common::collector::Collector;
use super::objects::{self, Pod};
use super::population::{LOCAL, Scale, node_name};

/// All of it.
pub(crate) struct Stage {
    pub(crate) scale: Scale,
    pub(crate) collector: Collector,
    pub(crate) api: ApiServer,
    pub(crate) cluster: Cluster,
    /// The size of a pod as the API server sends it.
    pub(crate) pod_bytes: usize,
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Makes the cluster and starts a collector.
    pub(crate) fn new(scale: &Scale) -> Self {
        let local: Vec<Pod> = (0..LOCAL).map(|number| scale.pod(number)).collect();
        let node = local
            .iter()
            .map(|pod| PodSpec::new(&pod.namespace, &pod.name))
            .fold(NodeSpec::new(&node_name(0)), NodeSpec::pod);
        let cluster = Cluster::create(&ClusterSpec::new(Topology::Ptp).node(node)).unwrap();
        let node = &cluster.nodes()[0];
        let api = ApiServer::start().unwrap();
        scale.fill(&api);
        let addresses = node.addresses.both();
        api.apply(objects::node(&node.name, &addresses)).unwrap();
        for (pod, placed) in local.into_iter().zip(node.pods()) {
            let pod = with_addresses(pod, placed.addresses.both());
            api.apply(pod.json()).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let address = api.listen_in(&node.netns).unwrap();
        std::fs::write(&kubeconfig, ApiServer::kubeconfig(address, None)).unwrap();
        let source = format!("--kubeconfig={}", kubeconfig.display());
        Self {
            scale: *scale,
            collector: Collector::start(node, directory.path(), &[&source]),
            pod_bytes: scale.pod(scale.pods - 1).json().to_string().len(),
            api,
            cluster,
            _directory: directory,
        }
    }

    pub(crate) fn node(&self) -> &Node {
        &self.cluster.nodes()[0]
    }
}

/// The pod where the testkit has placed it.
pub(crate) fn with_addresses(pod: Pod, addresses: [IpAddr; 2]) -> Pod {
    Pod {
        addresses: addresses.to_vec(),
        ..pod
    }
}
