//! A cluster of workloads: which pods there are, where they run, and what they are called.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use weir_testkit::api::ApiServer;

use super::objects::{self, Pod};
use super::policies;

/// Pods on the node of the collector, with real interfaces.
pub(crate) const LOCAL: usize = 100;
pub(crate) const POLICIES: usize = 1_000;
/// Pods of one workload.
const REPLICAS: usize = 20;
/// Every one of so many workloads is a StatefulSet, each of whose pods has labels of its own.
const STATEFUL: usize = 10;
const TIERS: [&str; 3] = ["frontend", "backend", "data"];
/// Where other nodes' pods begin.
const PODS: u32 = 0x0a80_0000; // 10.128.0.0
const NODES: u32 = 0xac1d_0000; // 172.29.0.0
const SERVICES: u32 = 0xac14_0000; // 172.20.0.0

/// How large the cluster is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) pods: usize,
    pub(crate) namespaces: usize,
    pub(crate) nodes: usize,
    workloads: usize,
}

impl Scale {
    /// A cluster of so many pods, a hundred on each node.
    pub(crate) fn of(pods: usize) -> Self {
        Self {
            pods,
            namespaces: (pods / 100).clamp(10, 500),
            nodes: pods / LOCAL,
            workloads: pods / REPLICAS,
        }
    }

    /// Half of the workloads have one.
    pub(crate) fn services(&self) -> usize {
        self.workloads / 2
    }

    /// The pod of a number. The first ones are the local node's, of as many workloads.
    pub(crate) fn pod(&self, number: usize) -> Pod {
        let workload = number % self.workloads;
        let replica = number / self.workloads;
        let namespace = namespace_name(workload % self.namespaces);
        let app = app_name(workload);
        let mut labels = BTreeMap::from([
            ("app".to_owned(), app.clone()),
            ("app.kubernetes.io/instance".to_owned(), app.clone()),
            ("app.kubernetes.io/managed-by".to_owned(), "Helm".to_owned()),
            ("tier".to_owned(), TIERS[workload % 3].to_owned()),
        ]);
        let mut label =
            |key: &str, value: &str| drop(labels.insert(key.to_owned(), value.to_owned()));
        let (name, owner) = if workload.is_multiple_of(STATEFUL) {
            let name = format!("{app}-{replica}");
            label("apps.kubernetes.io/pod-index", &replica.to_string());
            label("controller-revision-hash", &format!("{app}-7d9f8b6c5"));
            label("statefulset.kubernetes.io/pod-name", &name);
            (name, ("StatefulSet", app))
        } else {
            label("pod-template-hash", "6b8f7d9c54");
            let owner = format!("{app}-6b8f7d9c54");
            (format!("{owner}-{number:05x}"), ("ReplicaSet", owner))
        };
        Pod {
            namespace,
            name,
            uid: format!("00000000-0000-4000-8000-{number:012x}"),
            node: node_name(number / LOCAL),
            labels,
            owner,
            addresses: vec![at(PODS, number)],
        }
    }

    /// Fills an API server with all but the local node's pods.
    pub(crate) fn fill(&self, api: &ApiServer) {
        let put = |object| drop(api.apply(object).unwrap());
        for number in 0..self.namespaces {
            let env = if number.is_multiple_of(3) {
                "prod"
            } else {
                "staging"
            };
            let labels = json!({"team": format!("team-{}", number % 10), "env": env});
            put(objects::namespace(&namespace_name(number), labels));
        }
        for number in 1..self.nodes {
            put(objects::node(&node_name(number), &[at(NODES, number)]));
        }
        for number in LOCAL..self.pods {
            put(self.pod(number).json());
        }
        for workload in (0..self.workloads).step_by(2) {
            let backends = (workload..self.pods).step_by(self.workloads);
            let backends: Vec<Pod> = backends
                .filter(|pod| *pod >= LOCAL)
                .map(|pod| self.pod(pod))
                .collect();
            let namespace = namespace_name(workload % self.namespaces);
            let address = at(SERVICES, workload);
            objects::service(&namespace, &app_name(workload), address, &backends)
                .into_iter()
                .for_each(put);
        }
        for number in 0..POLICIES {
            put(policies::policy(number, self.namespaces, self.workloads));
        }
    }
}

/// The workloads of a namespace.
pub(crate) fn apps_of(namespace: usize, namespaces: usize, workloads: usize) -> Vec<String> {
    (namespace..workloads)
        .step_by(namespaces)
        .map(app_name)
        .collect()
}

pub(crate) fn namespace_name(number: usize) -> String {
    format!("team-{:02}-{number:03}", number % 10)
}

/// The first one is the collector's.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{}", number + 1)
}

fn app_name(workload: usize) -> String {
    format!("app-{workload:04}")
}

fn at(base: u32, number: usize) -> IpAddr {
    Ipv4Addr::from_bits(base + u32::try_from(number).unwrap()).into()
}
