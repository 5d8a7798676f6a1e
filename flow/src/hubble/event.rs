//! Which Cilium event a record stands for, with the numbers and words that Hubble's clients know.

use crate::{Direction, Reason, Record, RecordKind, Rule, Verdict};

/// The kinds of `flow.CiliumEventType` that records become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The verdict about a new or re-judged flow, or about refused attempts.
    PolicyVerdict,
    /// Packets dropped for another reason than policy, or of a flow that was cut.
    Drop,
    /// Counts and end of a flow that passes.
    Trace,
}

impl Event {
    /// What `record` stands for.
    pub fn of(record: &Record) -> Self {
        let dropped = record.verdict == Verdict::Dropped;
        match record.kind {
            _ if dropped && !by_policy(record.reason) => Self::Drop,
            RecordKind::Started | RecordKind::Rejudged | RecordKind::Denial => Self::PolicyVerdict,
            RecordKind::Updated | RecordKind::Ended if dropped => Self::Drop,
            RecordKind::Updated | RecordKind::Ended => Self::Trace,
        }
    }

    /// `event_type.type`.
    pub const fn number(self) -> i32 {
        match self {
            Self::Drop => 1,
            Self::Trace => 4,
            Self::PolicyVerdict => 5,
        }
    }
}

/// Whether a refusal for this reason is the policies' doing.
fn by_policy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::DefaultDeny | Reason::MixedBackends | Reason::Pending | Reason::DenialsFull
    )
}

/// `event_type.sub_type`: the drop reason of a drop, the observation point of a trace.
pub fn sub_type(record: &Record) -> i32 {
    match (Event::of(record), record.direction) {
        (Event::PolicyVerdict, _) => 0,
        (Event::Drop, _) => drop_reason(record.reason).number,
        (Event::Trace, direction) => TracePoint::of(direction).sub_type,
    }
}

/// Where a trace was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePoint {
    /// The monitor's number.
    pub sub_type: i32,
    /// `flow.TraceObservationPoint`, whose zero means unknown.
    pub observation_point: i32,
    /// The CLI's word.
    pub name: &'static str,
}

impl TracePoint {
    /// Packets to a pod are seen as they are handed to it, those from a pod on their way to the stack.
    pub const fn of(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self {
                sub_type: 0,
                observation_point: 101,
                name: "to-endpoint",
            },
            Direction::Egress => Self {
                sub_type: 3,
                observation_point: 3,
                name: "to-stack",
            },
        }
    }
}

/// What a policy verdict matched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchType {
    /// `policy_match_type`.
    pub number: u32,
    /// The CLI's word.
    pub name: &'static str,
}

/// What the verdict matched on: nothing for a denial, everything where no policy isolates the endpoint.
pub fn match_type(record: &Record) -> MatchType {
    let (number, name) = match (&*record.rule, record.reason) {
        (Rule::Policy { .. }, _) if record.local_port != 0 || record.remote_port != 0 => {
            (2, "L3-L4")
        }
        (Rule::Policy { .. }, _) => (1, "L3-Only"),
        (Rule::None, reason) if by_policy(reason) => (0, "none"),
        (Rule::None, _) => (4, "all"),
    };
    MatchType { number, name }
}

/// A drop reason of Hubble's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropReason {
    /// `flow.DropReason`.
    pub number: i32,
    /// The CLI's text for it.
    pub text: &'static str,
}

/// Hubble's drop reason for one of ours. Ours is in the record's extension.
pub fn drop_reason(reason: Reason) -> DropReason {
    let (number, text) = match reason {
        Reason::SpoofedSource | Reason::SpoofedNeighbour => (132, "Invalid source ip"),
        Reason::FragTooShort | Reason::MalformedHeader => (134, "Invalid packet"),
        Reason::ShortHeader => (135, "CT: Truncated or invalid header"),
        Reason::NotForEndpoint => (151, "Stale or unroutable IP"),
        Reason::TableFull | Reason::EntryRetiring => (155, "CT: Map insertion failed"),
        Reason::ExtensionHeaders => (156, "Invalid IPv6 extension header"),
        Reason::NoBackends => (158, "Service backend not found"),
        Reason::NotSyn | Reason::IcmpUnrelated => (163, "Unknown connection tracking state"),
        Reason::UnknownEthertype => (166, "Unsupported L2 protocol"),
        Reason::FragNoFirst => (175, "First logical datagram fragment not found"),
        Reason::RogueRouter => (176, "Forbidden ICMPv6 message"),
        Reason::Vlan => (182, "VLAN traffic disallowed by VLAN filter"),
        Reason::Pending => (203, "Endpoint policy program not available"),
        Reason::DefaultDeny
        | Reason::MixedBackends
        | Reason::DenialsFull
        | Reason::Policy
        | Reason::NotIsolated
        | Reason::SelfTraffic
        | Reason::OwnNode
        | Reason::EstablishedBeforeAttach
        | Reason::IcmpRelated
        | Reason::Arp
        | Reason::NeighbourDiscovery
        | Reason::MulticastListener
        | Reason::Observed => (133, "Policy denied"),
    };
    DropReason { number, text }
}

/// The reserved identities, by number.
const RESERVED: [&str; 12] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
    "overlay-internal",
];

/// The name of a reserved identity.
pub fn reserved_identity(identity: u32) -> Option<&'static str> {
    RESERVED.get(identity as usize).copied()
}
