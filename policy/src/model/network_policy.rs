//! NetworkPolicy v1 (`k8s.io/api/networking/v1`).

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{LabelSelector, Name, Pod, Protocol};

/// Direction as the selected pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// `ingress` or `egress`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// A NetworkPolicy with its defaults resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: Name,
    /// Which pods of its namespace it is for.
    pub pod_selector: LabelSelector,
    /// In which directions it isolates them.
    pub types: PolicyTypes,
    /// `spec.ingress`; without effect unless `types.ingress`.
    pub ingress: Vec<Rule>,
    /// `spec.egress`; without effect unless `types.egress`.
    pub egress: Vec<Rule>,
}

impl NetworkPolicy {
    /// Whether it isolates in `direction`.
    pub fn isolates(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.types.ingress,
            Direction::Egress => self.types.egress,
        }
    }

    /// Whether it is for this pod. Pods without a network identity of their own are never meant.
    pub fn selects(&self, pod: &Pod) -> bool {
        pod.is_networked()
            && self.name.namespace == pod.name.namespace
            && self.pod_selector.matches(&pod.labels)
    }

    /// The rules that have effect in `direction`.
    pub fn rules(&self, direction: Direction) -> &[Rule] {
        match direction {
            Direction::Ingress if self.types.ingress => &self.ingress,
            Direction::Egress if self.types.egress => &self.egress,
            Direction::Ingress | Direction::Egress => &[],
        }
    }
}

/// `spec.policyTypes`, defaults resolved (`pkg/apis/networking/v1/defaults.go`): absent or empty means Ingress, and
/// Egress only if there is an egress rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyTypes {
    /// Isolates ingress.
    pub ingress: bool,
    /// Isolates egress.
    pub egress: bool,
}

/// One entry of `spec.ingress` or `spec.egress`: (any of the peers) AND (any of the ports).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`. Empty (absent, null, `[]`) = any peer, external ones too.
    pub peers: Vec<Peer>,
    /// `ports`. Empty (absent, null, `[]`) = any port of any protocol.
    pub ports: Vec<PolicyPort>,
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods: those that match both selectors.
    Pods {
        /// Absent = the policy's own namespace.
        namespace_selector: Option<LabelSelector>,
        /// Absent = all pods of the matching namespaces.
        pod_selector: Option<LabelSelector>,
    },
    /// Addresses, those of pods too.
    IpBlock(IpBlock),
}

/// `ipBlock`, host bits masked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IpBlock {
    /// The block.
    pub cidr: IpNet,
    /// Strict subsets of it that are left out.
    pub except: Vec<IpNet>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyPort {
    /// Protocol; absent = TCP.
    pub protocol: Protocol,
    /// Port of the destination pod.
    pub port: Port,
}

/// Which ports of a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// `port` absent: all ports of the protocol.
    All,
    /// `port`, or `port`..=`endPort`.
    Range {
        /// `port`.
        first: u16,
        /// `endPort`, or `port`.
        last: u16,
    },
    /// A container port's name, resolved on each destination pod.
    Named(Arc<str>),
}
