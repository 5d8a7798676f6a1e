//! The compiled policy of one node: what the kernel looks up, as plain values.
//!
//! `(policy set, peer identity) → port table`, `(protocol, port) → rule` inside it. The kernel programs, `explain`
//! and the policy tests all read these tables, so they cannot disagree. Numbers are stable: an id never changes its
//! meaning, and is not reused while anything may still hold it.

mod judge;
mod lpm;
mod ports;
mod state;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Name, Protocol};

pub use judge::{Judgement, Origin, Query, Reason};
pub use lpm::Networks;
pub(crate) use ports::{Claim, build};
pub use state::Tables;

/// A class of addresses that the policies cannot tell apart (node-local number).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityId(pub u32);

impl IdentityId {
    /// An address that no pod, node, Service or policy CIDR covers.
    pub const WORLD: Self = Self(0);
    /// The first compiled identity.
    pub const FIRST: Self = Self(16);
}

/// The policies that select an endpoint in one direction, with its own resolution of their named ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetId(pub u32);

impl SetId {
    /// No policy isolates the endpoint in this direction.
    pub const OPEN: Self = Self(0);
    /// The endpoint's policy is not known yet; it passes.
    pub const PENDING_ALLOW: Self = Self(1);
    /// The endpoint's policy is not known yet; it is denied.
    pub const PENDING_DENY: Self = Self(2);
    /// The first compiled set.
    pub const FIRST: Self = Self(16);
}

/// A policy rule, or one of the reserved reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub u32);

impl RuleId {
    /// Not isolated in this direction.
    pub const NOT_ISOLATED: Self = Self(1);
    /// Isolated, and no rule allows it.
    pub const DEFAULT_DENY: Self = Self(2);
    /// A pod to itself.
    pub const SELF: Self = Self(3);
    /// Between a pod and its own node.
    pub const OWN_NODE: Self = Self(4);
    /// The endpoint's policy is pending; its posture decided.
    pub const PENDING: Self = Self(5);
    /// The Service has no backends.
    pub const NO_BACKENDS: Self = Self(6);
    /// The Service's backends differ in verdict.
    pub const MIXED_BACKENDS: Self = Self(7);
    /// The first rule of the catalogue.
    pub const FIRST: Self = Self(64);
}

/// What an address is to the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its class.
    pub identity: IdentityId,
    /// Whether it belongs to a node.
    pub node: NodeAddress,
}

/// Whether an address belongs to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    /// It does not.
    No,
    /// Another node's.
    Other,
    /// The node these tables are for.
    Own,
}

/// A Service's address and port as clients use it, before DNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// ClusterIP, external IP, load balancer IP or node address.
    pub address: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Service port or node port.
    pub port: u16,
}

/// The protocols that policies tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolClass {
    /// Everything that NetworkPolicy cannot name, ICMP for one: only rules without `ports` allow it.
    Other,
    /// TCP, UDP or SCTP.
    Named(Protocol),
}

/// Ports that one rule decides; both ends included, 0..=0 in [`ProtocolClass::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// Protocol.
    pub protocol: ProtocolClass,
    /// Lowest port.
    pub low: u16,
    /// Highest port.
    pub high: u16,
    /// The rule that allows it, or [`RuleId::NO_BACKENDS`] / [`RuleId::MIXED_BACKENDS`], which deny.
    pub rule: RuleId,
}

/// What a policy set says about one identity. Never empty: nothing allowed = no table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortTable {
    /// One rule decides every protocol and port. The table of a Service, whose identity is reached through one port
    /// only, is always of this form: the rule that allows all its backends, [`RuleId::OWN_NODE`] or [`RuleId::SELF`]
    /// if its backends are the node or the pod itself, [`RuleId::NO_BACKENDS`] or [`RuleId::MIXED_BACKENDS`].
    All(RuleId),
    /// Sorted by (protocol number, port), disjoint, adjacent ranges of one rule merged.
    Ranges(Arc<[PortRange]>),
}

/// One map write. Each is atomic in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Address → class.
    Peer(IpAddr, Peer),
    /// Address is nobody's any more.
    RemovePeer(IpAddr),
    /// CIDR → class.
    Network(IpNet, Peer),
    /// No policy names this CIDR any more.
    RemoveNetwork(IpNet),
    /// Service front end → class.
    Frontend(Frontend, IdentityId),
    /// No Service has it any more.
    RemoveFrontend(Frontend),
    /// (set, identity) → ports.
    Verdict(SetId, IdentityId, PortTable),
    /// Nothing allowed any more, or the set or identity is gone.
    RemoveVerdict(SetId, IdentityId),
    /// A pod's two sets, switched together.
    Endpoint(Name, EndpointSets),
    /// The pod is no endpoint of this node any more.
    RemoveEndpoint(Name),
}

impl Write {
    /// The (set, identity) whose verdict it removes.
    pub(crate) fn removed_verdict(&self) -> Option<(SetId, IdentityId)> {
        match self {
            Self::RemoveVerdict(set, identity) => Some((*set, *identity)),
            _ => None,
        }
    }
}

/// The two sets that judge an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSets {
    /// Judges packets to the pod.
    pub ingress: SetId,
    /// Judges packets from the pod.
    pub egress: SetId,
}

/// The way from one compiled state to the next. The writes of each stage are done in order, stage after stage;
/// stopped after any single write, every verdict is the old one or the new one. The epoch is bumped after `switch`;
/// `cleanup` follows when a grace time has passed, longer than a program runs, and before the first write of the next
/// update.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Number of the compiled state this leads to. Equal to the previous one if no verdict or rule name changes.
    pub revision: u64,
    /// New identities into live sets, with the verdicts their addresses have now.
    pub prepare: Vec<Write>,
    /// Addresses, CIDRs and front ends to their new identities.
    pub addresses: Vec<Write>,
    /// New sets, whole.
    pub sets: Vec<Write>,
    /// Each endpoint to its new sets.
    pub switch: Vec<Write>,
    /// What nothing refers to any more.
    pub cleanup: Vec<Write>,
}

impl Update {
    /// All writes in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        [
            &self.prepare,
            &self.addresses,
            &self.sets,
            &self.switch,
            &self.cleanup,
        ]
        .into_iter()
        .flatten()
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.writes().next().is_none()
    }
}
