//! Flow, denial, fragment and ledger entries. Their counters only grow; user space deletes only what is retired and read.

use super::border;

/// An IPv4 flow as one endpoint sees it. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey4 {
    /// The other side's address.
    pub remote: u32,
    /// The pod's address.
    pub local: u32,
    /// The pod's port; the identifier of an ICMP echo; 0 without ports.
    pub local_port: u16,
    /// The other side's port; for ICMP `type << 8 | code` of the request.
    pub remote_port: u16,
    /// `endpoint id << 8 | protocol`, see [`endpoint_protocol`].
    pub endpoint_protocol: u32,
}

/// An IPv6 flow as one endpoint sees it. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey6 {
    /// The other side's address.
    pub remote: [u8; 16],
    /// The pod's address.
    pub local: [u8; 16],
    /// As in [`FlowKey4`].
    pub local_port: u16,
    /// As in [`FlowKey4`].
    pub remote_port: u16,
    /// As in [`FlowKey4`].
    pub endpoint_protocol: u32,
}

/// Packs an endpoint number (24 bits) and an IP protocol.
#[inline(always)]
pub const fn endpoint_protocol(endpoint: u32, protocol: u8) -> u32 {
    endpoint << 8 | protocol as u32
}

/// Packets in one direction. `segments` counts what is on the wire beyond one segment a packet (GSO).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets (one skb each).
    pub packets: u64,
    /// Bytes: skb length with the Ethernet header.
    pub bytes: u64,
}

/// One flow. The first cache line is what an established packet touches. 224 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Policy epoch of the verdict; a packet under another epoch has the flow judged again.
    pub epoch: u32,
    /// [`flow_state`] bits; only set and cleared by atomic operations.
    pub state: u32,
    /// Jiffies of the last packet.
    pub last_seen: u64,
    /// Allowed packets from the pod.
    pub egress: Tally,
    /// Allowed packets to the pod.
    pub ingress: Tally,
    /// Rule that decided ([`super::rule`] or the catalogue's).
    pub rule: u32,
    /// Policy set that decided.
    pub set: u32,
    /// TCP flags seen: from the pod in the low half, to the pod in the high half.
    pub tcp_flags: u32,
    /// Identity of the remote side at the verdict.
    pub identity: u32,
    // --- second cache line: rare ---
    /// The flow's number since boot: `cpu << 48 | count`.
    pub serial: u64,
    /// CLOCK_MONOTONIC at the first packet, ns.
    pub first_seen_ns: u64,
    /// Wire segments beyond one a packet, from the pod.
    pub egress_extra_segments: u64,
    /// Wire segments beyond one a packet, to the pod.
    pub ingress_extra_segments: u64,
    /// Denied packets from the pod (a flow that was cut keeps its entry).
    pub egress_dropped: Tally,
    /// Denied packets to the pod.
    pub ingress_dropped: Tally,
    // --- third cache line: what earlier incarnations of this tuple counted; a record subtracts it ---
    /// `egress` when this incarnation began.
    pub base_egress: Tally,
    /// `ingress` when this incarnation began.
    pub base_ingress: Tally,
    /// `egress_extra_segments`, `ingress_extra_segments` when this incarnation began.
    pub base_segments: [u64; 2],
    /// `egress_dropped` when this incarnation began.
    pub base_egress_dropped: Tally,
    /// `ingress_dropped` when this incarnation began.
    pub base_ingress_dropped: Tally,
    /// Number of this incarnation of the tuple, from 0.
    pub incarnation: u32,
    /// [`super::Reason`] of the verdict in the low byte; the rest zero.
    pub reason: u32,
    /// Zero.
    pub reserved: u64,
}

/// Bits of [`Flow::state`].
pub mod flow_state {
    /// The opener is the remote side (else the pod).
    pub const OPENED_BY_REMOTE: u32 = 1 << 0;
    /// Both sides have agreed to it ([`establishes`](crate::state::establishes)); no longer nascent.
    pub const ESTABLISHED: u32 = 1 << 1;
    /// FIN seen from the pod.
    pub const FIN_EGRESS: u32 = 1 << 2;
    /// FIN seen to the pod.
    pub const FIN_INGRESS: u32 = 1 << 3;
    /// RST seen.
    pub const RST: u32 = 1 << 4;
    /// The verdict is deny: packets are dropped (or marked, in audit mode).
    pub const DENIED: u32 = 1 << 5;
    /// The flow passes although the policies deny it (audit mode).
    pub const AUDIT: u32 = 1 << 6;
    /// Began before the programs were attached.
    pub const BEFORE_ATTACH: u32 = 1 << 7;
    /// User space is about to read and delete the entry: programs leave it alone.
    pub const RETIRED: u32 = 1 << 8;
    /// A forwarded packet bore a node's address.
    pub const SOURCE_NAT_SUSPECTED: u32 = 1 << 9;
    /// The remote address was a Service front end.
    pub const SERVICE: u32 = 1 << 10;
    /// The first packet came from a socket of the node itself (`ingress_ifindex` 0): a re-check needs to know.
    pub const LOCAL_ORIGIN: u32 = 1 << 11;
}

/// Refused attempts of one kind over IPv4, without the ephemeral port. 20 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DenialKey4 {
    /// The other side's address; 0 in an overflow entry or if it could not be parsed.
    pub remote: u32,
    /// The pod's address.
    pub local: u32,
    /// Destination port of the refused packets; for ICMP `type << 8 | code`; 0 without ports.
    pub port: u16,
    /// [`super::Reason`].
    pub reason: u8,
    /// [`super::Direction`].
    pub direction: u8,
    /// As in [`FlowKey4`].
    pub endpoint_protocol: u32,
    /// Ethernet type if it is neither IPv4 nor IPv6, else 0.
    pub ethertype: u32,
}

/// The same over IPv6. 44 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DenialKey6 {
    /// As in [`DenialKey4`].
    pub remote: [u8; 16],
    /// As in [`DenialKey4`].
    pub local: [u8; 16],
    /// As in [`DenialKey4`].
    pub port: u16,
    /// As in [`DenialKey4`].
    pub reason: u8,
    /// As in [`DenialKey4`].
    pub direction: u8,
    /// As in [`DenialKey4`].
    pub endpoint_protocol: u32,
    /// As in [`DenialKey4`].
    pub ethertype: u32,
}

/// Counts of refused attempts. 72 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// Policy epoch of the verdict.
    pub epoch: u32,
    /// Rule that decided.
    pub rule: u32,
    /// Policy set that decided.
    pub set: u32,
    /// Identity of the remote side at the verdict.
    pub identity: u32,
    /// Dropped packets and bytes.
    pub dropped: Tally,
    /// Wire segments beyond one a packet.
    pub extra_segments: u64,
    /// Jiffies of the last packet.
    pub last_seen: u64,
    /// CLOCK_MONOTONIC of the first packet, ns.
    pub first_seen_ns: u64,
    /// Number since boot, of the same sequence as flows.
    pub serial: u64,
    /// TCP flags of the first packet in the low half, the last packet's source port in the high half.
    pub flags_port: u32,
    /// [`flow_state::RETIRED`], [`flow_state::SERVICE`], [`flow_state::SOURCE_NAT_SUSPECTED`].
    pub state: u32,
}

/// A fragmented IPv4 packet at one endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey4 {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// The IP identification.
    pub identification: u32,
    /// As in [`FlowKey4`]; bit 31 is the direction.
    pub endpoint_protocol: u32,
}

/// A fragmented IPv6 packet at one endpoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey6 {
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// The fragment header's identification.
    pub identification: u32,
    /// As in [`FragmentKey4`], with protocol 0: only the first fragment knows it (RFC 8200 §4.5).
    pub endpoint_protocol: u32,
}

/// What the first fragment said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u32,
    /// CLOCK_MONOTONIC_COARSE when it was seen, ns: later fragments follow for 30 s (RFC 791, RFC 8200 allow 60).
    pub seen_ns: u64,
}

/// Packets that no flow or denial entry counts, by why.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// [`super::Endpoint::id`].
    pub endpoint: u32,
    /// [`super::Direction`].
    pub direction: u8,
    /// [`super::Verdict`].
    pub verdict: u8,
    /// [`super::Reason`].
    pub reason: u8,
    /// Zero.
    pub reserved: u8,
}

/// Per-CPU counts of a [`LedgerKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCount {
    /// Packets and bytes.
    pub tally: Tally,
    /// Wire segments beyond one a packet.
    pub extra_segments: u64,
}

border! {
    FlowKey4 = 16,
    FlowKey6 = 40,
    Tally = 16,
    Flow = 224,
    DenialKey4 = 20,
    DenialKey6 = 44,
    Denial = 72,
    FragmentKey4 = 16,
    FragmentKey6 = 40,
    Fragment = 16,
    LedgerKey = 8,
    LedgerCount = 24,
}
