//! The compact record that the collector works on. Endpoint, rule and policy metadata are shared, so a record is
//! made without allocating. Counts are cumulative: a later record of a flow replaces an earlier one.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        $vis enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name, as in output, metrics and columns.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one with this name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Nanoseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

/// What the stream carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A flow or a denial.
    Flow(Record),
    /// Something that should have been a record and is not.
    Loss(LossRecord),
}

impl Item {
    /// When it was written.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Flow(record) => record.time,
            Self::Loss(loss) => loss.time,
        }
    }

    /// The node that wrote it.
    pub fn node(&self) -> &Arc<str> {
        match self {
            Self::Flow(record) => &record.node,
            Self::Loss(loss) => &loss.node,
        }
    }
}

/// Identifies a flow everywhere and for ever: the boot of the kernel that saw it, and that kernel's serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowId {
    /// First 8 bytes of the kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot: u64,
    /// Serial since boot (`cpu << 48 | count`).
    pub serial: u64,
}

/// One statement about one flow, as one endpoint saw it. Idempotent by (`id`, `number`).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When the collector wrote it.
    pub time: Timestamp,
    /// The flow.
    pub id: FlowId,
    /// Record number within the flow, from 1.
    pub number: u32,
    /// What is said.
    pub kind: RecordKind,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet so far.
    pub last_seen: Timestamp,
    /// Where it was seen.
    pub node: Arc<str>,
    /// The reporting endpoint: the pod on this node.
    pub local: Arc<Endpoint>,
    /// The other side, as it was known when the flow began.
    pub remote: Arc<Endpoint>,
    /// The Service front end the pod addressed, if any.
    pub service: Option<Arc<ServiceRef>>,
    /// The pod's address.
    pub local_ip: IpAddr,
    /// The other side's address.
    pub remote_ip: IpAddr,
    /// The pod's port (TCP, UDP, SCTP), else 0.
    pub local_port: u16,
    /// The other side's port, else 0.
    pub remote_port: u16,
    /// ICMP type and code of the request.
    pub icmp: Option<Icmp>,
    /// IP protocol number; 0 if the packet was no IP packet.
    pub protocol: u8,
    /// Who opened it, as the endpoint sees it: `Egress` = the pod did. Also the direction the verdict is about.
    pub direction: Direction,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule behind the verdict.
    pub rule: Arc<Rule>,
    /// The policies that isolate the endpoint in this direction; empty if none does.
    pub isolated_by: Arc<[PolicyRef]>,
    /// For a default deny: what came nearest to allowing it, e.g. `allow-frontend rule 0: port matches, label app=frontend is missing`.
    pub nearest_miss: Option<Arc<str>>,
    /// Number of the compiled policy state that decided.
    pub revision: u64,
    /// The endpoint's mode.
    pub mode: Mode,
    /// What was counted so far.
    pub counts: Counts,
    /// TCP flags seen so far.
    pub tcp_flags: TcpFlags,
    /// Why it ended (`RecordKind::Ended`).
    pub end: Option<EndReason>,
    /// A forwarded packet bore a node's address: the remote side may be somebody else.
    pub source_nat_suspected: bool,
    /// Ethernet type of a packet that was no IP packet.
    pub ethertype: Option<u16>,
}

names! {
    /// What a record says about its flow.
    pub enum RecordKind {
        /// It began; carries the verdict.
        Started = "started",
        /// Counts so far.
        Updated = "updated",
        /// A policy change changed the verdict.
        Rejudged = "rejudged",
        /// It is over; the counts are final.
        Ended = "ended",
        /// Refused attempts: first the first packet, then counts.
        Denial = "denial",
    }
}

names! {
    /// Direction as the pod sees it.
    pub enum Direction {
        /// Towards the pod.
        Ingress = "ingress",
        /// From the pod.
        Egress = "egress",
    }
}

names! {
    /// What was done.
    pub enum Verdict {
        /// Passed.
        Forwarded = "forwarded",
        /// Dropped.
        Dropped = "dropped",
        /// Passed in audit mode, although the policies deny it.
        Audit = "audit",
    }
}

names! {
    /// Why a verdict fell. The names are those of the datapath's reasons.
    pub enum Reason {
        /// A policy rule allows it.
        Policy = "policy",
        /// No policy isolates the endpoint in this direction.
        NotIsolated = "not_isolated",
        /// Isolated, and no rule allows it.
        DefaultDeny = "default_deny",
        /// A pod to itself.
        SelfTraffic = "self",
        /// Between a pod and its own node.
        OwnNode = "own_node",
        /// The endpoint's policy was not known yet; its posture decided.
        Pending = "pending",
        /// The Service has no backends.
        NoBackends = "no_backends",
        /// The Service's backends differ in verdict.
        MixedBackends = "mixed_backends",
        /// Began before the programs were attached.
        EstablishedBeforeAttach = "established_before_attach",
        /// A TCP packet without SYN that belongs to no known connection.
        NotSyn = "not_syn",
        /// An ICMP error about an allowed flow.
        IcmpRelated = "icmp_related",
        /// An ICMP error that belongs to no allowed flow.
        IcmpUnrelated = "icmp_unrelated",
        /// The flow table or the endpoint's quota is full.
        TableFull = "table_full",
        /// A fragment whose first fragment was not seen.
        FragNoFirst = "frag_no_first",
        /// A first fragment too short for its ports.
        FragTooShort = "frag_too_short",
        /// A header is cut off.
        ShortHeader = "short_header",
        /// Too many IPv6 extension headers, or one that hides the rest.
        ExtensionHeaders = "extension_headers",
        /// Neither IPv4, IPv6 nor ARP.
        UnknownEthertype = "unknown_ethertype",
        /// A VLAN tag on a pod's interface.
        Vlan = "vlan",
        /// The pod sent from an address that is not its own.
        SpoofedSource = "spoofed_source",
        /// ARP or a neighbour advertisement for an address that is not the pod's.
        SpoofedNeighbour = "spoofed_neighbour",
        /// A router advertisement or redirect sent by a pod.
        RogueRouter = "rogue_router",
        /// ARP.
        Arp = "arp",
        /// IPv6 neighbour discovery.
        NeighbourDiscovery = "neighbour_discovery",
        /// MLD or IGMP.
        MulticastListener = "multicast_listener",
        /// Unicast for somebody else, flooded by a bridge.
        NotForEndpoint = "not_for_endpoint",
        /// Met an entry that was about to be deleted.
        EntryRetiring = "entry_retiring",
        /// Observe mode: not judged.
        Observed = "observed",
        /// A malformed IP header.
        MalformedHeader = "malformed_header",
        /// The denial table is full.
        DenialsFull = "denials_full",
    }
}

names! {
    /// Why a flow ended.
    pub enum EndReason {
        /// Both sides sent FIN.
        Fin = "fin",
        /// RST.
        Reset = "rst",
        /// No packet for the timeout of its state.
        Idle = "idle",
        /// Its entry was needed.
        Evicted = "evicted",
        /// A policy change cut it, and it fell silent.
        Policy = "policy",
        /// The endpoint is gone.
        EndpointGone = "endpoint_gone",
        /// The same addresses and ports began a new connection.
        Reused = "reused",
    }
}

names! {
    /// What Weir does at an endpoint.
    pub enum Mode {
        /// Denied packets are dropped.
        Enforce = "enforce",
        /// Denied packets pass and are reported as `AUDIT`.
        Audit = "audit",
        /// Nothing is judged.
        Observe = "observe",
    }
}

names! {
    /// What an address belongs to.
    pub enum EndpointKind {
        /// A pod.
        Pod = "pod",
        /// The collector's own node.
        Host = "host",
        /// Another node.
        RemoteNode = "remote-node",
        /// A Service front end (seen before DNAT).
        Service = "service",
        /// Outside the cluster.
        World = "world",
        /// Not known (yet).
        Unknown = "unknown",
    }
}

/// One side of a flow, shared by all records of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// What it is.
    pub kind: EndpointKind,
    /// Number that is derived from namespace and labels, equal on all nodes (Hubble's identity).
    pub identity: u32,
    /// Namespace; empty if it has none.
    pub namespace: Arc<str>,
    /// Pod, node or Service name; empty if unknown.
    pub name: Arc<str>,
    /// `key=value`, sorted; Hubble's form `k8s:key=value` is made at the edge.
    pub labels: Arc<[Arc<str>]>,
    /// The controlling workload, e.g. Deployment `web`.
    pub workload: Option<Workload>,
}

/// The controlling workload of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// Kind, e.g. `Deployment`.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// A Service front end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Kind, e.g. `NetworkPolicy`.
    pub kind: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl std::fmt::Display for PolicyRef {
    /// `NetworkPolicy shop/db`; without the slash if the policy has no namespace.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The rule a verdict names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// No policy rule: the record's reason says all there is.
    None,
    /// A rule of a policy.
    Policy {
        /// The policy.
        policy: PolicyRef,
        /// Direction of the rule's section.
        direction: Direction,
        /// Index in `spec.ingress` or `spec.egress`.
        index: u32,
    },
}

/// ICMP type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// Packets (skbs), bytes (with the Ethernet header) and wire segments, one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Segments on the wire.
    pub segments: u64,
}

/// Cumulative counts of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// Passed, from the pod.
    pub egress: Tally,
    /// Passed, to the pod.
    pub ingress: Tally,
    /// Dropped, from the pod.
    pub egress_dropped: Tally,
    /// Dropped, to the pod.
    pub ingress_dropped: Tally,
}

/// TCP flags seen, as in the TCP header's low byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TcpFlags {
    /// From the pod.
    pub egress: u8,
    /// To the pod.
    pub ingress: u8,
}

/// Something that should have been a record and is not: how many, where, from when to when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRecord {
    /// When it was noticed.
    pub time: Timestamp,
    /// Node.
    pub node: Arc<str>,
    /// Where on the way.
    pub place: LossPlace,
    /// The endpoint, if it is one endpoint's loss (`namespace/name`).
    pub endpoint: Option<Arc<str>>,
    /// Records lost, where records are what was lost.
    pub records: u64,
    /// Packets not attributed to any record, where packets are what was lost.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
}

names! {
    /// Where records or packets were lost.
    pub enum LossPlace {
        /// The kernel's flow table was full: packets passed unrecorded.
        FlowTable = "flow_table",
        /// Packets that met an entry being deleted.
        EntryRetiring = "entry_retiring",
        /// The kernel's ledger was full.
        Ledger = "ledger",
        /// The collector's recent store overwrote what a reader had not read.
        RecentStore = "recent_store",
        /// The uplink's bound on unacknowledged bytes was reached.
        Uplink = "uplink",
        /// A Hubble client read too slowly.
        Subscriber = "subscriber",
        /// The OTLP receiver took too little.
        Otlp = "otlp",
        /// The aggregator's bounds were reached.
        Aggregator = "aggregator",
    }
}
