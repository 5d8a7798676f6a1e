//! What a ring carries: a doorbell with enough to write the first record at once. Counts come from the tables.

use super::border;

/// What rang.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A new flow entry.
    Started = 1,
    /// The flow has ended (both FINs, or RST).
    Ended = 2,
    /// The tuple is used again: this flow is over, and nothing but this event has its last counts. `Started` follows,
    /// about the flow that replaces it.
    Replaced = 3,
    /// A re-check under a new epoch changed the verdict.
    Rejudged = 4,
    /// A new denial entry.
    Denied = 5,
}

/// A ring record. 176 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// [`EventKind`].
    pub kind: u8,
    /// [`super::Direction`] of the packet; the direction that was judged. `Replaced`: the one in which it was opened.
    pub direction: u8,
    /// 4 or 6; 0 if neither.
    pub family: u8,
    /// IP protocol.
    pub protocol: u8,
    /// [`super::Reason`].
    pub reason: u8,
    /// [`super::Verdict`].
    pub verdict: u8,
    /// TCP flags of the packet. `Replaced`: all that the flow had, from the pod in the low byte, to the pod in the high.
    pub tcp_flags: u16,
    /// [`super::Endpoint::id`].
    pub endpoint: u32,
    /// Policy set that decided.
    pub set: u32,
    /// Rule that decided.
    pub rule: u32,
    /// Policy epoch.
    pub epoch: u32,
    /// Identity of the remote side.
    pub identity: u32,
    /// [`super::flow_state`] bits.
    pub state: u32,
    /// The pod's port.
    pub local_port: u16,
    /// The other side's port.
    pub remote_port: u16,
    /// Ethernet type if it is neither IPv4 nor IPv6, else 0.
    pub ethertype: u32,
    /// The pod's address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// The other side's address.
    pub remote: [u8; 16],
    /// Number of the flow or denial.
    pub serial: u64,
    /// CLOCK_MONOTONIC, ns. `Replaced`: when the flow began.
    pub time_ns: u64,
    /// `Replaced`: jiffies of the flow's last packet. Else 0.
    pub last_seen: u64,
    /// Allowed packets from the pod: the entry's totals at this moment. `Replaced`: this flow's own.
    pub egress: super::Tally,
    /// Allowed packets to the pod.
    pub ingress: super::Tally,
    /// `Denied`: the packet's own count: packets (1) and bytes; the entry's totals stand in the tally of its direction.
    /// Others: wire segments beyond one a packet in the entry, from and to the pod.
    pub extra: [u64; 2],
    /// `Replaced`: denied packets from and to the pod. Else 0.
    pub dropped: [super::Tally; 2],
}

border! { Event = 176 }
