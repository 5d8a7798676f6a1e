//! Namespaces, nodes and pods.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Labels, NAMESPACE_NAME_LABEL, Name, Protocol};

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// Labels; `kubernetes.io/metadata.name` is always set.
    pub labels: Labels,
    /// Annotations.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
}

impl Namespace {
    /// A namespace with these labels and the one that the API server sets on every namespace.
    pub fn new(name: &str, labels: &Labels) -> Self {
        Self {
            name: name.into(),
            labels: labels.with(NAMESPACE_NAME_LABEL, name),
            annotations: BTreeMap::new(),
        }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Its addresses (`InternalIP` and `ExternalIP`).
    pub addresses: Vec<IpAddr>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.uid`; empty if the manifest has none.
    pub uid: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// `spec.nodeName`; empty while it is not scheduled.
    pub node: Arc<str>,
    /// `status.podIPs` (or `podIP`), one of each family at most.
    pub ips: Vec<IpAddr>,
    /// `spec.hostNetwork`: it has the node's addresses, and policies do not apply to it.
    pub host_network: bool,
    /// `status.phase`.
    pub phase: Phase,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Ports that containers declare by name, restartable init containers included.
    pub ports: Arc<[NamedPort]>,
    /// The controlling workload.
    pub owner: Option<Owner>,
}

impl Pod {
    /// Whether it has a network identity: completed pods have none, and their address may be another's already.
    pub fn is_networked(&self) -> bool {
        !self.host_network && !matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Its number for a port name and protocol; the first declaration counts.
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| &*port.name == name && port.protocol == protocol)
            .map(|port| port.port)
    }
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not all containers are running yet.
    Pending,
    /// Running; also taken where a manifest says nothing.
    #[default]
    Running,
    /// Completed.
    Succeeded,
    /// Completed, with an error.
    Failed,
    /// The node cannot be reached.
    Unknown,
}

/// A container port with a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// Name.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub port: u16,
}

/// A controlling workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Kind, e.g. `Deployment`.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}
