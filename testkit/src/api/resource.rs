//! The kinds of objects that the API server has.

/// A collection of the API, all in their group's version `v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as in the API")]
pub enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Services,
    Secrets,
    /// `events` of the core group.
    CoreEvents,
    /// `events` of the group `events.k8s.io`. A real server keeps both kinds in one place.
    Events,
    EndpointSlices,
    NetworkPolicies,
    ReplicaSets,
    Deployments,
    DaemonSets,
    StatefulSets,
    Jobs,
    CronJobs,
}

/// Where the objects of a resource are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each in a namespace.
    Namespaced,
    /// Of the whole cluster.
    Cluster,
}

/// The only version of each group.
pub(super) const VERSION: &str = "v1";

// === impl Resource ===

impl Resource {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Pods,
        Self::Services,
        Self::Secrets,
        Self::CoreEvents,
        Self::Events,
        Self::EndpointSlices,
        Self::NetworkPolicies,
        Self::ReplicaSets,
        Self::Deployments,
        Self::DaemonSets,
        Self::StatefulSets,
        Self::Jobs,
        Self::CronJobs,
    ];

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespaces
            | Self::Nodes
            | Self::Pods
            | Self::Services
            | Self::Secrets
            | Self::CoreEvents => "",
            Self::Events => "events.k8s.io",
            Self::EndpointSlices => "discovery.k8s.io",
            Self::NetworkPolicies => "networking.k8s.io",
            Self::ReplicaSets | Self::Deployments | Self::DaemonSets | Self::StatefulSets => "apps",
            Self::Jobs | Self::CronJobs => "batch",
        }
    }

    /// The objects' `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Nodes => "Node",
            Self::Pods => "Pod",
            Self::Services => "Service",
            Self::Secrets => "Secret",
            Self::CoreEvents | Self::Events => "Event",
            Self::EndpointSlices => "EndpointSlice",
            Self::NetworkPolicies => "NetworkPolicy",
            Self::ReplicaSets => "ReplicaSet",
            Self::Deployments => "Deployment",
            Self::DaemonSets => "DaemonSet",
            Self::StatefulSets => "StatefulSet",
            Self::Jobs => "Job",
            Self::CronJobs => "CronJob",
        }
    }

    /// The collection's name, as in paths and in RBAC.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Secrets => "secrets",
            Self::CoreEvents | Self::Events => "events",
            Self::EndpointSlices => "endpointslices",
            Self::NetworkPolicies => "networkpolicies",
            Self::ReplicaSets => "replicasets",
            Self::Deployments => "deployments",
            Self::DaemonSets => "daemonsets",
            Self::StatefulSets => "statefulsets",
            Self::Jobs => "jobs",
            Self::CronJobs => "cronjobs",
        }
    }

    /// Where its objects are.
    pub fn scope(self) -> Scope {
        match self {
            Self::Namespaces | Self::Nodes => Scope::Cluster,
            _ => Scope::Namespaced,
        }
    }

    /// The objects' `apiVersion`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => VERSION.to_owned(),
            group => format!("{group}/{VERSION}"),
        }
    }

    /// Group and name as in the API server's messages: `networkpolicies.networking.k8s.io`.
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    pub(super) fn by_kind(api_version: &str, kind: &str) -> Option<Self> {
        let is_it =
            |resource: &Self| resource.kind() == kind && resource.api_version() == api_version;
        Self::ALL.into_iter().find(is_it)
    }

    pub(super) fn by_path(group: &str, plural: &str) -> Option<Self> {
        let is_it = |resource: &Self| resource.group() == group && resource.plural() == plural;
        Self::ALL.into_iter().find(is_it)
    }
}
