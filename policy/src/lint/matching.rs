//! Which pods a policy or a peer is for, in the input at hand.

use std::sync::Arc;

use crate::model::{Cluster, Direction, LabelSelector, NetworkPolicy, Peer, Pod, Rule};

/// The pods that a policy selects.
pub(super) fn selected<'c>(cluster: &'c Cluster, policy: &NetworkPolicy) -> Vec<&'c Arc<Pod>> {
    let is_selected = |pod: &&Arc<Pod>| {
        pod.is_networked()
            && pod.name.namespace == policy.name.namespace
            && policy.pod_selector.matches(&pod.labels)
    };
    cluster.pods.values().filter(is_selected).collect()
}

/// The policies that isolate a pod in `direction`.
pub(super) fn isolating<'c>(
    cluster: &'c Cluster,
    pod: &Pod,
    direction: Direction,
) -> impl Iterator<Item = &'c Arc<NetworkPolicy>> {
    let (namespace, labels) = (pod.name.namespace.clone(), pod.labels.clone());
    let policies = cluster.policies.values();
    policies.filter(move |policy| {
        policy.isolates(direction)
            && policy.name.namespace == namespace
            && policy.pod_selector.matches(&labels)
    })
}

/// The pods that the selectors of a peer match.
pub(super) fn peer_pods<'c>(
    cluster: &'c Cluster,
    own_namespace: &str,
    namespace_selector: Option<&LabelSelector>,
    pod_selector: Option<&LabelSelector>,
) -> Vec<&'c Arc<Pod>> {
    let in_namespace = |pod: &Pod| match namespace_selector {
        None => &*pod.name.namespace == own_namespace,
        Some(selector) => cluster
            .namespaces
            .get(&pod.name.namespace)
            .is_some_and(|namespace| selector.matches(&namespace.labels)),
    };
    let matches = |pod: &&Arc<Pod>| {
        pod.is_networked()
            && in_namespace(pod)
            && pod_selector.is_none_or(|selector| selector.matches(&pod.labels))
    };
    cluster.pods.values().filter(matches).collect()
}

/// The pods on the far side of a rule; `None` if the rule is for any peer or names addresses.
pub(super) fn far_pods<'c>(
    cluster: &'c Cluster,
    policy: &NetworkPolicy,
    rule: &Rule,
) -> Option<Vec<&'c Arc<Pod>>> {
    if rule.peers.is_empty() {
        return None;
    }
    let mut pods = Vec::new();
    for peer in &rule.peers {
        match peer {
            Peer::IpBlock(_) => return None,
            Peer::Pods {
                namespace_selector,
                pod_selector,
            } => {
                pods.extend(peer_pods(
                    cluster,
                    &policy.name.namespace,
                    namespace_selector.as_ref(),
                    pod_selector.as_ref(),
                ));
            }
        }
    }
    Some(pods)
}
