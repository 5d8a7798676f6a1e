//! The kinds that are watched: where they are, and what of them is read.

use weir_policy::model::Kind;

use super::prune::Keep::{self, All, Beginning, Except, Only};

/// A kind as the API has it.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// Group and version, as in a path.
    pub(super) api: &'static str,
    /// Name of the collection.
    pub(super) plural: &'static str,
    /// What is kept of an object.
    pub(super) keep: Keep<'static>,
}

impl Resource {
    /// The path of all objects of the cluster.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.api, self.plural)
    }

    /// The path of a namespace's objects.
    pub(super) fn path_in(&self, namespace: &str) -> String {
        format!("/{}/namespaces/{namespace}/{}", self.api, self.plural)
    }
}

const META: Keep<'static> = Only(&[
    ("name", All),
    ("namespace", All),
    ("uid", All),
    ("resourceVersion", All),
    ("labels", All),
    ("annotations", Beginning("weir.dev/")),
    ("deletionTimestamp", All),
    (
        "ownerReferences",
        Only(&[("kind", All), ("name", All), ("controller", All)]),
    ),
]);

/// NetworkPolicies whole: a field that is not known must be seen to be refused.
pub(super) static NETWORK_POLICIES: Resource = Resource {
    kind: Kind::NetworkPolicy,
    api: "apis/networking.k8s.io/v1",
    plural: "networkpolicies",
    keep: Except(&[("metadata", META)]),
};

pub(super) static NAMESPACES: Resource = Resource {
    kind: Kind::Namespace,
    api: "api/v1",
    plural: "namespaces",
    keep: Only(&[("metadata", META)]),
};

/// The workload that owns a pod is told by its ReplicaSet's or Job's name and the pod's labels (`policy::manifest`): no
/// right to read workloads is needed, and nothing is kept of them.
pub(super) static PODS: Resource = Resource {
    kind: Kind::Pod,
    api: "api/v1",
    plural: "pods",
    keep: Only(&[
        ("metadata", META),
        (
            "spec",
            Only(&[
                ("nodeName", All),
                ("hostNetwork", All),
                ("containers", Only(&[("ports", All)])),
                (
                    "initContainers",
                    Only(&[("restartPolicy", All), ("ports", All)]),
                ),
            ]),
        ),
        (
            "status",
            Only(&[("phase", All), ("podIP", All), ("podIPs", All)]),
        ),
    ]),
};

pub(super) static NODES: Resource = Resource {
    kind: Kind::Node,
    api: "api/v1",
    plural: "nodes",
    keep: Only(&[("metadata", META), ("status", Only(&[("addresses", All)]))]),
};

pub(super) static SERVICES: Resource = Resource {
    kind: Kind::Service,
    api: "api/v1",
    plural: "services",
    keep: Only(&[
        ("metadata", META),
        (
            "spec",
            Only(&[
                ("type", All),
                ("clusterIP", All),
                ("clusterIPs", All),
                ("externalIPs", All),
                ("selector", All),
                ("ports", All),
            ]),
        ),
        ("status", Only(&[("loadBalancer", All)])),
    ]),
};

pub(super) static ENDPOINT_SLICES: Resource = Resource {
    kind: Kind::EndpointSlice,
    api: "apis/discovery.k8s.io/v1",
    plural: "endpointslices",
    keep: Only(&[
        ("metadata", META),
        ("addressType", All),
        (
            "endpoints",
            Only(&[
                ("addresses", All),
                ("conditions", All),
                ("targetRef", All),
                ("nodeName", All),
            ]),
        ),
        ("ports", All),
    ]),
};

/// All of them.
pub(super) static RESOURCES: [&Resource; 6] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &SERVICES,
    &ENDPOINT_SLICES,
    &NETWORK_POLICIES,
];
