//! Objects with all that a real API server has of them, most of which Weir does not read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// What is particular about a pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Kind and name.
    pub(crate) owner: (&'static str, String),
    pub(crate) addresses: Vec<IpAddr>,
}

const CREATED: &str = "2026-03-01T09:00:00Z";

impl Pod {
    /// As the API server has it: running if it has addresses, else scheduled only.
    pub(crate) fn json(&self) -> Value {
        let Self {
            namespace,
            name,
            uid,
            node,
            labels,
            ..
        } = self;
        let (kind, owner) = &self.owner;
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "generateName": format!("{owner}-"),
                "creationTimestamp": CREATED,
                "labels": labels,
                "annotations": {
                    "checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "kubectl.kubernetes.io/restartedAt": CREATED,
                    "prometheus.io/port": "9090",
                    "prometheus.io/scrape": "true",
                },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": format!("{uid}-owner"),
                    "controller": true, "blockOwnerDeletion": true,
                }],
                "managedFields": [
                    managed("kube-controller-manager", &["f:metadata", "f:spec"], labels),
                    managed("kubelet", &["f:status"], &BTreeMap::new()),
                ],
            },
            "spec": spec(node, labels),
            "status": self.status(),
        })
    }

    fn status(&self) -> Value {
        let Some(first) = self.addresses.first() else {
            return json!({"phase": "Pending", "qosClass": "Burstable", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": CREATED},
            ]});
        };
        let conditions = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ];
        let conditions = conditions.map(|kind| {
            json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": CREATED})
        });
        let containers = ["main", "proxy"].map(|name| {
            json!({
                "name": name, "ready": true, "started": true, "restartCount": 0, "lastState": {},
                "state": {"running": {"startedAt": CREATED}},
                "image": format!("registry.example.com/shop/{name}:1.27.4"),
                "imageID": format!("registry.example.com/shop/{name}@sha256:{}", "4c".repeat(32)),
                "containerID": format!("containerd://{}", "7b".repeat(32)),
                "volumeMounts": mounts(),
            })
        });
        let all = self.addresses.iter().map(|ip| json!({"ip": ip}));
        json!({
            "phase": "Running", "qosClass": "Burstable", "startTime": CREATED,
            "hostIP": "172.18.0.2", "hostIPs": [{"ip": "172.18.0.2"}],
            "podIP": first, "podIPs": all.collect::<Vec<_>>(),
            "conditions": conditions, "containerStatuses": containers,
        })
    }
}

fn spec(node: &str, labels: &BTreeMap<String, String>) -> Value {
    let container = |name: &str, ports: Value| {
        json!({
            "name": name,
            "image": format!("registry.example.com/shop/{name}:1.27.4"),
            "imagePullPolicy": "IfNotPresent",
            "args": ["--config=/etc/app/config.yaml", "--log-format=json", "--listen=:8080"],
            "env": [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
                {"name": "DATABASE", "value": "postgres://database.shop.svc.cluster.local:5432/shop"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}},
            ],
            "ports": ports,
            "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
            "livenessProbe": probe("/healthz"),
            "readinessProbe": probe("/readyz"),
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true, "runAsNonRoot": true},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": mounts(),
        })
    };
    let tolerations = ["not-ready", "unreachable"].map(|taint| {
        json!({"effect": "NoExecute", "key": format!("node.kubernetes.io/{taint}"), "operator": "Exists",
            "tolerationSeconds": 300})
    });
    let app = labels.get("app").cloned().unwrap_or_default();
    json!({
        "nodeName": node, "serviceAccount": app, "serviceAccountName": app, "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "enableServiceLinks": true,
        "preemptionPolicy": "PreemptLowerPriority", "priority": 0, "terminationGracePeriodSeconds": 30,
        "securityContext": {"fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            container("main", json!([
                {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
            ])),
            container("proxy", json!([{"name": "admin", "containerPort": 15000, "protocol": "TCP"}])),
        ],
        "tolerations": tolerations,
        "volumes": [
            {"name": "config", "configMap": {"name": app, "defaultMode": 420}},
            {"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            ]}},
        ],
    })
}

fn probe(path: &str) -> Value {
    json!({
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
    })
}

fn mounts() -> Value {
    json!([
        {"mountPath": "/etc/app", "name": "config", "readOnly": true},
        {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access", "readOnly": true},
    ])
}

/// What somebody has set: a path for each field, as server-side apply keeps it.
fn managed(manager: &str, parts: &[&str], labels: &BTreeMap<String, String>) -> Value {
    let leaves = [
        "f:image",
        "f:imagePullPolicy",
        "f:name",
        "f:resources",
        "f:terminationMessagePath",
        "f:terminationMessagePolicy",
        "f:type",
        "f:status",
        "f:lastTransitionTime",
        "f:lastProbeTime",
    ];
    let leaves: Map<String, Value> = leaves
        .map(|leaf| (leaf.to_owned(), json!({})))
        .into_iter()
        .collect();
    let labels: Map<String, Value> = labels
        .keys()
        .map(|key| (format!("f:{key}"), json!({})))
        .collect();
    let part = json!({
        "f:labels": labels,
        "f:containers": {"k:{\"name\":\"main\"}": leaves, "k:{\"name\":\"proxy\"}": leaves},
        "f:conditions": {"k:{\"type\":\"Ready\"}": leaves},
    });
    let fields: Map<String, Value> = parts
        .iter()
        .map(|name| ((*name).to_owned(), part.clone()))
        .collect();
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": CREATED,
        "fieldsType": "FieldsV1", "fieldsV1": fields})
}

/// A node, with the images that it has.
pub(crate) fn node(name: &str, addresses: &[IpAddr]) -> Value {
    let images = (0..30).map(|image| {
        json!({"names": [format!("registry.example.com/shop/image-{image}@sha256:{}", "5d".repeat(32))],
            "sizeBytes": 104_857_600})
    });
    let addresses = addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": "zone-a", "node.kubernetes.io/instance-type": "m5.4xlarge"},
            "managedFields": [managed("kubelet", &["f:status"], &BTreeMap::new())],
        },
        "spec": {"providerID": format!("provider://{name}")},
        "status": {
            "addresses": addresses.collect::<Vec<_>>(),
            "capacity": {"cpu": "16", "memory": "65536Mi", "pods": "110"},
            "images": images.collect::<Vec<_>>(),
        },
    })
}

/// A namespace.
pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels,
        "managedFields": [managed("kubectl", &["f:metadata"], &BTreeMap::new())]}})
}

/// A Service of the pods with this `app`, and its EndpointSlice.
pub(crate) fn service(namespace: &str, app: &str, address: IpAddr, backends: &[Pod]) -> [Value; 2] {
    let endpoints = backends.iter().map(|pod| {
        json!({
            "addresses": pod.addresses.first().map(|ip| vec![ip]), "nodeName": pod.node,
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod.name, "uid": pod.uid},
        })
    });
    let ports = |target: &str| json!([{"name": "http", "protocol": "TCP", target: 8080}]);
    let mut service_ports = ports("targetPort");
    service_ports[0]["port"] = 80.into();
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": app, "namespace": namespace, "labels": {"app": app},
                "managedFields": [managed("helm", &["f:spec"], &BTreeMap::new())]},
            "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "selector": {"app": app},
                "ports": service_ports, "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"},
            "status": {"loadBalancer": {}},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{app}-x7k2p"), "namespace": namespace,
                "labels": {"kubernetes.io/service-name": app, "app": app},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": app, "controller": true}],
                "managedFields": [managed("kube-controller-manager", &["f:endpoints"], &BTreeMap::new())]},
            "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": ports("port"),
        }),
    ]
}
