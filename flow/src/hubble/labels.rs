//! Labels in Cilium's form: `source:key=value`.

use std::sync::Arc;

use crate::{Endpoint, EndpointKind};

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// `k8s` or `reserved`.
    pub source: &'static str,
    /// Key.
    pub key: &'a str,
    /// Value; empty if there is none.
    pub value: &'a str,
}

const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const KUBERNETES: &str = "k8s";
const RESERVED: &str = "reserved";

/// An endpoint's labels as Hubble's clients know them: the pod's, its namespace, and a reserved one for what is no pod.
pub fn labels(endpoint: &Endpoint) -> impl Iterator<Item = Label<'_>> {
    let reserved = match endpoint.kind {
        EndpointKind::Pod | EndpointKind::Service => None,
        EndpointKind::Host => Some("host"),
        EndpointKind::RemoteNode => Some("remote-node"),
        EndpointKind::World => Some("world"),
        EndpointKind::Unknown => Some("unknown"),
    };
    let reserved = reserved.map(|key| Label {
        source: RESERVED,
        key,
        value: "",
    });
    let namespace = (!endpoint.namespace.is_empty()).then_some(Label {
        source: KUBERNETES,
        key: NAMESPACE,
        value: &endpoint.namespace,
    });
    let own = endpoint.labels.iter().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        Label {
            source: KUBERNETES,
            key,
            value,
        }
    });
    own.chain(namespace).chain(reserved)
}

impl std::fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.source, self.key)?;
        if self.source == RESERVED {
            return Ok(());
        }
        write!(f, "={}", self.value)
    }
}

/// The pod's own labels among those that [`labels`] gave.
pub(super) fn own(labels: &[String]) -> Arc<[Arc<str>]> {
    let own = labels
        .iter()
        .filter_map(|label| label.strip_prefix(KUBERNETES)?.strip_prefix(':'));
    own.filter(|label| {
        label
            .strip_prefix(NAMESPACE)
            .is_none_or(|rest| !rest.starts_with('='))
    })
    .map(Arc::from)
    .collect()
}
