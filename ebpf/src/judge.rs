//! The verdict on a new flow: a bounded number of lookups, whatever the number of policies.

use crate::context::Context;
use crate::family::{Family, FlowKey};
use crate::maps::{PORTS, VERDICTS};
use crate::step::Step;
use weir_datapath::abi::endpoint_flag::{OBSERVE, SIDECAR};
use weir_datapath::abi::flow_state::{LOCAL_ORIGIN, SERVICE, SOURCE_NAT_SUSPECTED};
use weir_datapath::abi::peer_flag::{NODE, OWN_NODE};
use weir_datapath::abi::{
    Direction, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, Peer, Reason, VerdictKey, identity,
    protocol_port, rule, set,
};
use weir_datapath::ports;

/// Where a packet to the pod came from.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By some other interface, or it is from the pod.
    Forwarded = 0,
    /// A socket in the node's own namespace.
    Local = 1,
    /// The pod's own interface: it went to its own Service.
    Hairpin = 2,
    /// Not known: sidecar mode sees addresses only.
    AddressOnly = 3,
}

impl Origin {
    /// What an entry remembers of it.
    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        if self == Origin::Local {
            LOCAL_ORIGIN
        } else {
            0
        }
    }
}

/// What is to be judged, beside the addresses and the protocol.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    /// Direction in which the connection is opened.
    pub(crate) direction: Direction,
    pub(crate) origin: Origin,
    /// Destination port in that direction.
    pub(crate) port: u16,
}

/// The answer.
pub(crate) struct Judgement {
    pub(crate) allowed: bool,
    pub(crate) reason: Reason,
    pub(crate) rule: u32,
    pub(crate) set: u32,
    pub(crate) identity: u32,
    /// [`SERVICE`], [`SOURCE_NAT_SUSPECTED`].
    pub(crate) bits: u32,
}

impl Judgement {
    /// No verdict yet.
    #[inline(always)]
    pub(crate) fn blank() -> Self {
        Self {
            allowed: false,
            reason: Reason::Observed,
            rule: rule::NOT_JUDGED,
            set: set::OPEN,
            identity: identity::WORLD,
            bits: 0,
        }
    }

    /// Refuses for a reason that is no policy's.
    #[inline(always)]
    pub(crate) fn refuse(&mut self, cx: &Context, reason: Reason) -> Step {
        self.object(cx, reason);
        Step::Refuse
    }

    /// The same, where the endpoint is isolated in the packet's direction.
    #[inline(always)]
    pub(crate) fn refuse_if_isolated(&mut self, cx: &Context, reason: Reason) -> Step {
        self.object(cx, reason);
        Step::RefuseIfIsolated
    }

    #[inline(always)]
    fn object(&mut self, cx: &Context, reason: Reason) {
        self.allowed = false;
        self.reason = reason;
        self.rule = rule::NOT_JUDGED;
        self.set = cx.set(cx.direction);
        self.bits = 0;
    }

    /// Lets a packet pass that no flow counts.
    #[inline(always)]
    pub(crate) fn pass(&mut self, reason: Reason) -> Step {
        self.allowed = true;
        self.reason = reason;
        Step::Ledger
    }

    #[inline(always)]
    fn settle(&mut self, allowed: bool, reason: Reason, rule: u32) {
        self.allowed = allowed;
        self.reason = reason;
        self.rule = rule;
    }
}

/// Where the packet came from, by the interface it came in by.
#[inline(always)]
pub(crate) fn origin(cx: &Context) -> Origin {
    if cx.has(SIDECAR) {
        return Origin::AddressOnly;
    }
    match (cx.direction, cx.skb.ingress_ifindex()) {
        (Direction::Egress, _) => Origin::Forwarded,
        (Direction::Ingress, 0) => Origin::Local,
        (Direction::Ingress, from) if from == cx.endpoint.ifindex => Origin::Hairpin,
        (Direction::Ingress, _) => Origin::Forwarded,
    }
}

/// Judges the opening of a connection between the key's addresses.
#[inline(never)]
pub(crate) fn judge<F: Family>(cx: &Context, key: &F::FlowKey, ask: Ask, out: &mut Judgement) {
    out.set = cx.set(ask.direction);
    out.identity = identity::WORLD;
    out.bits = 0;
    if cx.has(OBSERVE) {
        return out.settle(true, Reason::Observed, rule::NOT_JUDGED);
    }
    let remote = key.remote();
    if remote == key.local() {
        return out.settle(true, Reason::SelfTraffic, rule::SELF);
    }
    let decided_by_set = out.set >= set::FIRST || out.set == set::PENDING_DENY;
    let service = match ask.direction {
        Direction::Egress if decided_by_set && has_ports(key.protocol()) => {
            F::frontend(remote, key.protocol(), ask.port)
        }
        _ => None,
    };
    let peer = match service {
        None if decided_by_set || ask.origin != Origin::Forwarded => F::peer(remote),
        _ => None,
    };
    if let Some(peer) = peer {
        out.identity = peer.identity;
        if always_allowed(ask, peer, out) {
            return;
        }
    }
    match out.set {
        set::OPEN => return out.settle(true, Reason::NotIsolated, rule::NOT_ISOLATED),
        set::PENDING_ALLOW => return out.settle(true, Reason::Pending, rule::PENDING),
        set::PENDING_DENY => return out.settle(false, Reason::Pending, rule::PENDING),
        _ => {}
    }
    if let Some(identity) = service {
        out.identity = identity;
        out.bits |= SERVICE;
    } else if peer.is_none() {
        out.identity = F::network(remote).map_or(identity::WORLD, |network| network.identity);
    }
    by_policy(key.protocol(), ask.port, out);
}

#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP)
}

/// A pod's own node and the pod itself through its own Service: always allowed, by the API's words. Judged by where
/// the packet comes from; a forwarded packet with a node's address is an ordinary one.
#[inline(always)]
fn always_allowed(ask: Ask, peer: &Peer, out: &mut Judgement) -> bool {
    let own_node = peer.flags & OWN_NODE != 0;
    let by_origin = match (ask.direction, ask.origin) {
        (Direction::Egress, _) | (Direction::Ingress, Origin::Local | Origin::AddressOnly) => {
            own_node
        }
        (Direction::Ingress, Origin::Hairpin) if peer.flags & (OWN_NODE | NODE) != 0 => {
            out.settle(true, Reason::SelfTraffic, rule::SELF);
            return true;
        }
        (Direction::Ingress, _) => {
            if peer.flags & (OWN_NODE | NODE) != 0 {
                out.bits |= SOURCE_NAT_SUSPECTED;
            }
            false
        }
    };
    if by_origin {
        out.settle(true, Reason::OwnNode, rule::OWN_NODE);
    }
    by_origin
}

/// The compiled policy's answer.
#[inline(always)]
fn by_policy(protocol: u8, port: u16, out: &mut Judgement) {
    // SAFETY: NO_PREALLOC: an entry that is replaced now stays readable until this program has ended (RCU).
    let table = unsafe {
        VERDICTS.get(&VerdictKey {
            set: out.set,
            identity: out.identity,
        })
    };
    let found = table.and_then(|table| {
        ports::rule(*table, protocol_port(protocol, port), |i| {
            PORTS.get(i).copied()
        })
    });
    match found {
        None => out.settle(false, Reason::DefaultDeny, rule::DEFAULT_DENY),
        Some(rule::NO_BACKENDS) => out.settle(false, Reason::NoBackends, rule::NO_BACKENDS),
        Some(rule::MIXED_BACKENDS) => {
            out.settle(false, Reason::MixedBackends, rule::MIXED_BACKENDS)
        }
        Some(found) => out.settle(true, Reason::Policy, found),
    }
}
