//! The compiled policy as the kernel looks it up:
//! `(policy set, peer identity) → port table`, `(protocol, port) → rule` inside it by binary search.

use super::border;

/// Reserved policy sets. Compiled sets start at [`set::FIRST`]. A set belongs to one direction.
pub mod set {
    /// No policy isolates the endpoint in this direction: everything passes.
    pub const OPEN: u32 = 0;
    /// The endpoint's policy is not known yet; it passes, and its records say pending.
    pub const PENDING_ALLOW: u32 = 1;
    /// The endpoint's policy is not known yet; it is denied, and its records say pending.
    pub const PENDING_DENY: u32 = 2;
    /// First compiled set.
    pub const FIRST: u32 = 16;
}

/// Reserved identities. Compiled ones start at [`identity::FIRST`].
pub mod identity {
    /// An address that no pod, node, Service or policy CIDR covers.
    pub const WORLD: u32 = 0;
    /// First compiled identity.
    pub const FIRST: u32 = 16;
}

/// Reserved rule ids: why a verdict fell where no policy rule decided. Catalogue rules start at [`rule::FIRST`].
pub mod rule {
    /// The endpoint is not isolated in this direction.
    pub const NOT_ISOLATED: u32 = 1;
    /// Isolated, and no rule allows it; the set names the isolating policies.
    pub const DEFAULT_DENY: u32 = 2;
    /// A pod to itself.
    pub const SELF: u32 = 3;
    /// Between a pod and its own node.
    pub const OWN_NODE: u32 = 4;
    /// The endpoint's policy is pending; its posture decided.
    pub const PENDING: u32 = 5;
    /// The Service has no backends.
    pub const NO_BACKENDS: u32 = 6;
    /// The Service's backends differ in verdict.
    pub const MIXED_BACKENDS: u32 = 7;
    /// The packet was not judged against policies; its reason says why.
    pub const NOT_JUDGED: u32 = 8;
    /// Seen mid-stream in the grace time after attach, and either direction allows it.
    pub const ESTABLISHED_BEFORE_ATTACH: u32 = 9;
    /// First rule of the catalogue.
    pub const FIRST: u32 = 64;
}

/// A Service front end over IPv4, before DNAT.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrontendKey4 {
    /// ClusterIP, external IP, load balancer IP or node address.
    pub address: u32,
    /// Service port or node port.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// The same over IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrontendKey6 {
    /// As in [`FrontendKey4`].
    pub address: [u8; 16],
    /// As in [`FrontendKey4`].
    pub port: u16,
    /// As in [`FrontendKey4`].
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// What an address is to the policies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Identity number.
    pub identity: u32,
    /// [`peer_flag`] bits.
    pub flags: u32,
}

/// Bits of [`Peer::flags`].
pub mod peer_flag {
    /// An address of this collector's own node.
    pub const OWN_NODE: u32 = 1 << 0;
    /// An address of any node: forwarded traffic from it may be source-translated.
    pub const NODE: u32 = 1 << 1;
}

/// Key of `VERDICTS`. The set carries the direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VerdictKey {
    /// Policy set.
    pub set: u32,
    /// Peer identity.
    pub identity: u32,
}

/// Where the port ranges of a (set, identity) stand in `PORTS`. No entry = default deny.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortTable {
    /// First index in `PORTS`; if `count` is 0, the rule that allows every protocol and port.
    pub first: u32,
    /// Number of ranges, sorted and disjoint.
    pub count: u32,
}

/// The most ranges one table can hold: what 16 steps of binary search can tell apart.
pub const MAX_PORT_RANGES: u32 = 1 << 16;

/// One range of a port table: `protocol << 16 | port`, both ends included. Ports are 0 in [`super::PROTOCOL_OTHER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// Lowest `protocol << 16 | port`.
    pub low: u32,
    /// Highest `protocol << 16 | port`.
    pub high: u32,
    /// The rule that allows it, or [`rule::NO_BACKENDS`] / [`rule::MIXED_BACKENDS`], which deny.
    pub rule: u32,
    /// Zero.
    pub reserved: u32,
}

/// The key that port tables are searched by.
#[inline(always)]
pub const fn protocol_port(protocol: u8, port: u16) -> u32 {
    match protocol {
        super::IPPROTO_TCP | super::IPPROTO_UDP | super::IPPROTO_SCTP => {
            (protocol as u32) << 16 | port as u32
        }
        _ => (super::PROTOCOL_OTHER as u32) << 16,
    }
}

border! {
    FrontendKey4 = 8,
    FrontendKey6 = 20,
    Peer = 8,
    VerdictKey = 8,
    PortTable = 8,
    PortRange = 16,
}
