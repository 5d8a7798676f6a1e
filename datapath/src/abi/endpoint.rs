//! Endpoints: one pod interface on this node.

use super::border;

/// Slots in [`maps::ENDPOINTS`] and the maps beside it. An endpoint lives in one of the [`ENDPOINT_PROBES`] slots
/// that follow `ifindex % ENDPOINT_SLOTS`, so that a packet finds it without a hash.
pub const ENDPOINT_SLOTS: u32 = 4096;
/// How many consecutive slots are looked at for an interface.
pub const ENDPOINT_PROBES: u32 = 4;

/// Names of the maps, as in the object file and under the pin directory.
pub mod maps {
    /// `Array<Endpoint>`: identity, mode, addresses of an endpoint, by slot.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// `Array<EndpointSets>`: the two policy sets in force, by slot; switched by one aligned 8-byte store.
    pub const ENDPOINT_SETS: &str = "ENDPOINT_SETS";
    /// `Array<EndpointUse>`: how many flow entries an endpoint holds, by slot; written by the kernel only.
    pub const ENDPOINT_USE: &str = "ENDPOINT_USE";
    /// `Hash<SourceKey, u32>`: further addresses a pod may send from.
    pub const SOURCES: &str = "SOURCES";
    /// `Array<Control>`, one entry: epoch and settings.
    pub const CONTROL: &str = "CONTROL";
    /// `Hash<FrontendKey4, u32>`: Service front end → its identity, IPv4.
    pub const FRONTENDS4: &str = "FRONTENDS4";
    /// `Hash<FrontendKey6, u32>`: the same, IPv6.
    pub const FRONTENDS6: &str = "FRONTENDS6";
    /// `Hash<u32, Peer>`: exact IPv4 address → identity.
    pub const PEERS4: &str = "PEERS4";
    /// `Hash<[u8; 16], Peer>`: exact IPv6 address → identity.
    pub const PEERS6: &str = "PEERS6";
    /// `LpmTrie<[u8; 4], Peer>`: the CIDRs of policies, IPv4.
    pub const NETWORKS4: &str = "NETWORKS4";
    /// `LpmTrie<[u8; 16], Peer>`: the same, IPv6.
    pub const NETWORKS6: &str = "NETWORKS6";
    /// `Hash<VerdictKey, PortTable>`: (policy set, peer identity) → its port table.
    pub const VERDICTS: &str = "VERDICTS";
    /// `Array<PortRange>`: the arena of port tables; a table is immutable while a verdict refers to it.
    pub const PORTS: &str = "PORTS";
    /// `Hash<FlowKey4, Flow>`, preallocated.
    pub const FLOWS4: &str = "FLOWS4";
    /// `Hash<FlowKey6, Flow>`, preallocated.
    pub const FLOWS6: &str = "FLOWS6";
    /// `Hash<DenialKey4, Denial>`, preallocated.
    pub const DENIALS4: &str = "DENIALS4";
    /// `Hash<DenialKey6, Denial>`, preallocated.
    pub const DENIALS6: &str = "DENIALS6";
    /// `LruHash<FragmentKey4, Fragment>`: ports of a fragmented packet's first fragment.
    pub const FRAGMENTS4: &str = "FRAGMENTS4";
    /// `LruHash<FragmentKey6, Fragment>`.
    pub const FRAGMENTS6: &str = "FRAGMENTS6";
    /// `PerCpuHash<LedgerKey, LedgerCount>`: every packet that no flow or denial entry counts.
    pub const LEDGER: &str = "LEDGER";
    /// `PerCpuArray<u64>`, see [`super::Counter`]: what could not be written where it belongs.
    pub const COUNTERS: &str = "COUNTERS";
    /// `RingBuf` of [`super::super::Event`]: flow doorbells.
    pub const FLOW_EVENTS: &str = "FLOW_EVENTS";
    /// `RingBuf` of [`super::super::Event`]: denial doorbells.
    pub const DENIAL_EVENTS: &str = "DENIAL_EVENTS";
    /// `Array<ClockPair>`, one entry, written by the clock program.
    pub const CLOCK: &str = "CLOCK";
}

/// Names of the programs in the object file.
pub mod programs {
    /// Classifier for packets leaving the pod.
    pub const FROM_POD: &str = "weir_from_pod";
    /// Classifier for packets to the pod.
    pub const TO_POD: &str = "weir_to_pod";
    /// Run by `BPF_PROG_TEST_RUN` only: marks the flow and denial entries named in its input as retired.
    pub const RETIRE: &str = "weir_retire";
    /// Run by `BPF_PROG_TEST_RUN` only: writes a [`super::ClockPair`].
    pub const CLOCK: &str = "weir_clock";
}

/// What a packet at an interface needs to know about its endpoint. 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Interface index in the node's network namespace; 0 marks an empty slot.
    pub ifindex: u32,
    /// The endpoint's number, 1..2^24, never reused while an entry or record holds it.
    pub id: u32,
    /// `EndpointFlag` bits.
    pub flags: u32,
    /// The pod's IPv4 address; 0 if it has none (yet).
    pub ipv4: u32,
    /// The pod's IPv6 address; zero if it has none (yet).
    pub ipv6: [u8; 16],
    /// Until when (jiffies) TCP without SYN and without entry counts as established before attach.
    pub grace_until: u64,
    /// How many nascent flows (one direction seen) it may hold.
    pub nascent_quota: u32,
    /// How many flows seen in both directions it may hold.
    pub flow_quota: u32,
    /// Zero.
    pub reserved: [u64; 2],
}

/// Bits of [`Endpoint::flags`].
pub mod endpoint_flag {
    /// Judge and record, drop nothing, whatever the reason; denials are recorded as `AUDIT`.
    pub const AUDIT: u32 = 1 << 0;
    /// Record only; nothing is judged against the policies and nothing is dropped.
    pub const OBSERVE: u32 = 1 << 1;
    /// Sidecar: the programs sit on the pod's own `eth0`, own-node traffic is judged by address only.
    pub const SIDECAR: u32 = 1 << 2;
    /// Source addresses are checked. Not set while the pod's addresses are unknown.
    pub const CHECK_SOURCE: u32 = 1 << 3;
    /// `SOURCES` has further addresses for this endpoint.
    pub const MORE_SOURCES: u32 = 1 << 4;
}

/// The two policy sets in force at an endpoint; one aligned 8-byte store switches both.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointSets {
    /// Set that judges packets to the pod.
    pub ingress: u32,
    /// Set that judges packets from the pod.
    pub egress: u32,
}

/// How many flow entries an endpoint holds. Changed by the kernel programs only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointUse {
    /// Flows seen in one direction only.
    pub nascent: u64,
    /// Flows seen in both directions.
    pub flows: u64,
}

/// A further address an endpoint may send from (annotation).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// [`Endpoint::id`].
    pub endpoint: u32,
    /// 4 or 6.
    pub family: u32,
    /// The address; IPv4 in the first four bytes.
    pub address: [u8; 16],
}

/// The one entry of `CONTROL`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Counts kernel policy changes; stamped on every verdict. Programs read it before their lookups.
    pub epoch: u32,
    /// Zero.
    pub reserved: u32,
}

/// A kernel clock reading, to calibrate jiffies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockPair {
    /// CLOCK_MONOTONIC, nanoseconds (`bpf_ktime_get_ns`).
    pub monotonic_ns: u64,
    /// `bpf_jiffies64`.
    pub jiffies: u64,
}

/// Index into `COUNTERS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Per-CPU part of the next flow serial.
    Serial = 0,
    /// Flow doorbells that found the ring full (delayed to the sweep, not lost).
    FlowRingFull = 1,
    /// Denial doorbells that found the ring full (delayed to the sweep, not lost).
    DenialRingFull = 2,
    /// Packets that could not be entered in the ledger.
    LedgerFull = 3,
    /// Bytes of those packets.
    LedgerFullBytes = 4,
    /// Packets at an interface without an endpoint entry.
    NoEndpoint = 5,
}
/// Entries of `COUNTERS`.
pub const COUNTER_ENTRIES: u32 = 8;

border! {
    Endpoint = 64,
    EndpointSets = 8,
    EndpointUse = 16,
    SourceKey = 24,
    Control = 8,
    ClockPair = 16,
}
