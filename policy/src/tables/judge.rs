//! The verdict on a new connection, looked up exactly as the kernel programs do it.

use std::net::IpAddr;

use serde::Serialize;

use super::{Frontend, IdentityId, NodeAddress, Peer, ProtocolClass, RuleId, SetId, Tables};
use crate::model::{Direction, Name};

/// The opening of a connection as one endpoint sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Direction in which it is opened.
    pub direction: Direction,
    /// The pod's address.
    pub local: IpAddr,
    /// The other side's address; a Service's before DNAT.
    pub remote: IpAddr,
    /// Protocol.
    pub protocol: ProtocolClass,
    /// Destination port.
    pub port: u16,
    /// Where the packet comes from.
    pub origin: Origin,
}

/// Where a packet to the pod comes from. From the pod it is always [`Origin::Forwarded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Another interface of the node.
    Forwarded,
    /// A socket of the node itself.
    Local,
    /// The pod's own interface: it went to its own Service and came back.
    Hairpin,
    /// Not known; node addresses are believed (sidecar mode).
    AddressOnly,
}

/// Why a verdict fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A policy rule allows it.
    Policy,
    /// No policy isolates the endpoint in this direction.
    NotIsolated,
    /// Isolated, and no rule allows it.
    DefaultDeny,
    /// A pod to itself.
    #[serde(rename = "self")]
    SelfTraffic,
    /// Between a pod and its own node.
    OwnNode,
    /// The endpoint's policy is not known yet.
    Pending,
    /// The Service has no backends.
    NoBackends,
    /// The Service's backends differ in verdict.
    MixedBackends,
}

impl Reason {
    /// The stable name, the same as in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::NotIsolated => "not_isolated",
            Self::DefaultDeny => "default_deny",
            Self::SelfTraffic => "self",
            Self::OwnNode => "own_node",
            Self::Pending => "pending",
            Self::NoBackends => "no_backends",
            Self::MixedBackends => "mixed_backends",
        }
    }
}

/// A verdict with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the connection may be opened.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: RuleId,
    /// The set that was asked.
    pub set: SetId,
    /// What the remote address was to it.
    pub identity: IdentityId,
}

impl Tables {
    /// The verdict on the opening of a connection; `None` if the pod is no endpoint of this node.
    pub fn verdict(&self, endpoint: &Name, query: &Query) -> Option<Judgement> {
        let sets = self.endpoints.get(endpoint)?;
        let set = match query.direction {
            Direction::Ingress => sets.ingress,
            Direction::Egress => sets.egress,
        };
        Some(self.judge(set, query))
    }

    /// The verdict of a set. Order as in the kernel: the pod itself, its own node, front ends, exact addresses,
    /// CIDRs, then the set.
    pub fn judge(&self, set: SetId, query: &Query) -> Judgement {
        let mut out = Settle {
            set,
            identity: IdentityId::WORLD,
        };
        if query.remote == query.local {
            return out.settle(RuleId::SELF);
        }
        let by_set = set >= SetId::FIRST || set == SetId::PENDING_DENY;
        let service = (by_set && query.direction == Direction::Egress)
            .then(|| self.frontend(query))
            .flatten();
        let peer = match service {
            None if by_set || query.origin != Origin::Forwarded => self.peers.get(&query.remote),
            _ => None,
        };
        if let Some(peer) = peer {
            out.identity = peer.identity;
            if let Some(rule) = always_allowed(query, peer) {
                return out.settle(rule);
            }
        }
        match set {
            SetId::OPEN => return out.settle(RuleId::NOT_ISOLATED),
            SetId::PENDING_ALLOW | SetId::PENDING_DENY => return out.settle(RuleId::PENDING),
            _ => {}
        }
        if let Some(identity) = service {
            out.identity = identity;
        } else if peer.is_none() {
            out.identity = self.network(query.remote);
        }
        let table = self.table(set, out.identity);
        let rule = table.and_then(|table| table.rule(query.protocol, query.port));
        out.settle(rule.unwrap_or(RuleId::DEFAULT_DENY))
    }

    fn frontend(&self, query: &Query) -> Option<IdentityId> {
        let ProtocolClass::Named(protocol) = query.protocol else {
            return None;
        };
        let frontend = Frontend {
            address: query.remote,
            protocol,
            port: query.port,
        };
        self.frontends.get(&frontend).copied()
    }

    /// The identity of an address that is nobody's.
    pub(crate) fn network(&self, address: IpAddr) -> IdentityId {
        self.networks
            .lookup(address)
            .map_or(IdentityId::WORLD, |(_, network)| network.identity)
    }
}

fn always_allowed(query: &Query, peer: &Peer) -> Option<RuleId> {
    match (query.direction, query.origin) {
        (Direction::Egress, _) | (Direction::Ingress, Origin::Local | Origin::AddressOnly) => {
            (peer.node == NodeAddress::Own).then_some(RuleId::OWN_NODE)
        }
        (Direction::Ingress, Origin::Hairpin) => {
            (peer.node != NodeAddress::No).then_some(RuleId::SELF)
        }
        (Direction::Ingress, Origin::Forwarded) => None,
    }
}

struct Settle {
    set: SetId,
    identity: IdentityId,
}

impl Settle {
    fn settle(self, rule: RuleId) -> Judgement {
        let (allowed, reason) = match rule {
            RuleId::NOT_ISOLATED => (true, Reason::NotIsolated),
            RuleId::DEFAULT_DENY => (false, Reason::DefaultDeny),
            RuleId::SELF => (true, Reason::SelfTraffic),
            RuleId::OWN_NODE => (true, Reason::OwnNode),
            RuleId::PENDING => (self.set == SetId::PENDING_ALLOW, Reason::Pending),
            RuleId::NO_BACKENDS => (false, Reason::NoBackends),
            RuleId::MIXED_BACKENDS => (false, Reason::MixedBackends),
            _ => (true, Reason::Policy),
        };
        Judgement {
            allowed,
            reason,
            rule,
            set: self.set,
            identity: self.identity,
        }
    }
}
