//! A source over HTTP, and the objects that it is told of.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use weir_collector::source::{Batch, KubeSource, connect};
use weir_collector::state::StateDir;
use weir_collector::telemetry::Telemetry;
use weir_policy::manifest::from_json;
use weir_policy::model::{Cluster, Kind, Object, ObjectChange, Pod};
use weir_testkit::api::{ApiServer, Resource};

/// Generous: tests run on busy machines, and the source backs off.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How long something that must not happen is waited for.
pub(crate) const WHILE: Duration = Duration::from_millis(400);
pub(crate) const NODE: &str = "node-1";
pub(crate) const KINDS: [(Kind, Resource); 6] = [
    (Kind::Namespace, Resource::Namespaces),
    (Kind::Node, Resource::Nodes),
    (Kind::Pod, Resource::Pods),
    (Kind::Service, Resource::Services),
    (Kind::EndpointSlice, Resource::EndpointSlices),
    (Kind::NetworkPolicy, Resource::NetworkPolicies),
];

/// A source, and what it has handed on.
pub(crate) struct Followed {
    pub(crate) source: KubeSource,
    pub(crate) cluster: Cluster,
    pub(crate) refused: Option<String>,
    pub(crate) state: tempfile::TempDir,
}

impl Followed {
    pub(crate) async fn start(api: &ApiServer, token: Option<&str>) -> Self {
        Self::start_in(api, token, tempfile::tempdir().expect("directory")).await
    }

    pub(crate) async fn start_in(
        api: &ApiServer,
        token: Option<&str>,
        state: tempfile::TempDir,
    ) -> Self {
        let kubeconfig = state.path().join("kubeconfig");
        let text = ApiServer::kubeconfig(api.address(), token);
        std::fs::write(&kubeconfig, text).expect("written");
        let client = connect(Some(&kubeconfig)).await.expect("a client");
        let (telemetry, _) = Telemetry::new();
        let directory = StateDir::open(state.path()).expect("a state directory");
        let source = KubeSource::start(client, NODE.into(), telemetry.own, directory);
        Self {
            source: source.expect("a source"),
            cluster: Cluster::default(),
            refused: None,
            state,
        }
    }

    pub(crate) async fn batch(&mut self) -> Vec<ObjectChange> {
        let batch = timeout(PATIENCE, self.source.next()).await;
        let Batch {
            changes, refused, ..
        } = batch.expect("changes in time").expect("a source");
        changes
            .iter()
            .for_each(|change| self.cluster.apply(change.clone()));
        self.refused = refused.map(|text| text.to_string());
        changes
    }

    /// What is handed on meanwhile.
    pub(crate) async fn meanwhile(&mut self) -> Vec<ObjectChange> {
        let end = Instant::now() + WHILE;
        let mut all = Vec::new();
        while let Ok(batch) = tokio::time::timeout_at(end, self.source.next()).await {
            let changes = batch.expect("a source").changes;
            changes
                .iter()
                .for_each(|change| self.cluster.apply(change.clone()));
            all.extend(changes);
        }
        all
    }

    /// Waits until what was handed on is what the server has.
    pub(crate) async fn converges(&mut self, api: &ApiServer) {
        let end = Instant::now() + PATIENCE;
        loop {
            let expected = cluster(api);
            if self.cluster == expected {
                return;
            }
            let batch = tokio::time::timeout_at(end, self.batch()).await;
            assert!(
                batch.is_ok(),
                "what lacks: {:?}\n{:?}",
                self.cluster.changes_to(&expected),
                api.stats()
            );
        }
    }
}

/// What the server has, as it is handed on.
pub(crate) fn cluster(api: &ApiServer) -> Cluster {
    let mut cluster = Cluster::default();
    for (kind, resource) in KINDS {
        for object in api.list(resource) {
            cluster.upsert(kept(from_json(kind, &object).expect("a good object")));
        }
    }
    cluster
}

/// What is kept of an object: the uids of this node's pods only.
fn kept(object: Object) -> Object {
    match object {
        Object::Pod(pod) if *pod.node != *NODE => {
            let uid = "".into();
            Object::Pod(Arc::new(Pod {
                uid,
                ..(*pod).clone()
            }))
        }
        other => other,
    }
}

pub(crate) fn namespace(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"l": label}}})
}

pub(crate) fn policy(namespace: &str, name: &str, types: &[&str]) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": types}})
}

pub(crate) fn pod(namespace: &str, name: &str, node: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]}})
}

pub(crate) fn api() -> ApiServer {
    let api = ApiServer::start().expect("an API server");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}});
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "a"}, "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 8080}]});
    let all = [
        node,
        namespace("shop", "x"),
        service,
        slice,
        pod("shop", "a", NODE, "10.0.0.1"),
        pod("shop", "b", "node-2", "10.0.1.1"),
        policy("shop", "p", &["Ingress"]),
    ];
    for object in all {
        api.apply(object).expect("applied");
    }
    api
}
