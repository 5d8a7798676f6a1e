//! Verdicts and their reasons.

/// What was done with a packet or a flow.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Passed.
    Allow = 0,
    /// Dropped.
    Deny = 1,
    /// Would have been dropped; audit mode let it pass.
    Audit = 2,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal),* $(,)?) => {
        /// Why a verdict fell, or why a packet belongs to no flow. Numbers are wire format: they never change meaning.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name = $number),* }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// The reason with this number.
            pub const fn from_u8(number: u8) -> Option<Reason> {
                match number { $($number => Some(Reason::$name),)* _ => None }
            }

            /// Its stable name in records, metrics and output, e.g. `default_deny`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text),* }
            }
        }
    };
}

reasons! {
    /// A policy rule allows it; the rule id names it.
    Policy = 1 "policy",
    /// No policy isolates the endpoint in this direction.
    NotIsolated = 2 "not_isolated",
    /// Isolated, and no rule allows it.
    DefaultDeny = 3 "default_deny",
    /// A pod to itself.
    SelfTraffic = 4 "self",
    /// Between a pod and its own node.
    OwnNode = 5 "own_node",
    /// The endpoint's policy was not known yet.
    Pending = 6 "pending",
    /// The Service has no backends.
    NoBackends = 7 "no_backends",
    /// The Service's backends differ in verdict.
    MixedBackends = 8 "mixed_backends",
    /// Began before the programs were attached.
    EstablishedBeforeAttach = 9 "established_before_attach",
    /// A TCP packet without SYN that belongs to no known connection.
    NotSyn = 10 "not_syn",
    /// An ICMP error about an allowed flow of this endpoint.
    IcmpRelated = 11 "icmp_related",
    /// An ICMP error that belongs to no allowed flow of this endpoint.
    IcmpUnrelated = 12 "icmp_unrelated",
    /// The flow table or the endpoint's quota in it is full.
    TableFull = 13 "table_full",
    /// A fragment whose first fragment was not seen.
    FragNoFirst = 14 "frag_no_first",
    /// A first fragment too short for its ports.
    FragTooShort = 15 "frag_too_short",
    /// A header is cut off.
    ShortHeader = 16 "short_header",
    /// Too many IPv6 extension headers, or one that hides the rest.
    ExtensionHeaders = 17 "extension_headers",
    /// An Ethernet type that is neither IPv4, IPv6 nor ARP.
    UnknownEthertype = 18 "unknown_ethertype",
    /// A VLAN tag on a pod's interface.
    Vlan = 19 "vlan",
    /// The pod sent from an address that is not its own.
    SpoofedSource = 20 "spoofed_source",
    /// ARP or a neighbour advertisement for an address that is not the pod's.
    SpoofedNeighbour = 21 "spoofed_neighbour",
    /// A router advertisement or redirect sent by a pod.
    RogueRouter = 22 "rogue_router",
    /// ARP.
    Arp = 23 "arp",
    /// IPv6 neighbour discovery.
    NeighbourDiscovery = 24 "neighbour_discovery",
    /// Multicast listener discovery (MLD) or IGMP.
    MulticastListener = 25 "multicast_listener",
    /// Unicast for somebody else, flooded by a bridge.
    NotForEndpoint = 26 "not_for_endpoint",
    /// Met a flow entry that was about to be deleted; judged for itself.
    EntryRetiring = 27 "entry_retiring",
    /// Observe mode: not judged.
    Observed = 28 "observed",
    /// A malformed IP header (version, lengths).
    MalformedHeader = 29 "malformed_header",
    /// The denial table is full; counted in the endpoint's overflow entry under its own reason.
    DenialsFull = 30 "denials_full",
}

/// First number that no [`Reason`] has; the size of tables indexed by it.
pub const REASON_LIMIT: u8 = 32;
