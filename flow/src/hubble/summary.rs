//! The text that Hubble's CLI prints in parentheses: Hubble's own words first, then what Weir knows beyond them.

use std::fmt::Write as _;

use crate::{Counts, Direction, Reason, Record, RecordKind, Rule, Tally};

/// IP protocol numbers.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const VRRP: u8 = 112;
    pub(crate) const SCTP: u8 = 132;
}

/// TCP flags in the order in which Hubble prints them: name and bit.
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("SYN", 0x02),
    ("ACK", 0x10),
    ("RST", 0x04),
    ("FIN", 0x01),
    ("PSH", 0x08),
    ("URG", 0x20),
    ("ECE", 0x40),
    ("CWR", 0x80),
];

/// The whole summary of a record.
///
/// `TCP Flags: SYN; by NetworkPolicy shop/db ingress rule 0`
pub fn summary(record: &Record) -> String {
    let mut out = layer4(record);
    let mut add = |part: &str| {
        if !part.is_empty() {
            let separator = if out.is_empty() { "" } else { "; " };
            let _ = write!(out, "{separator}{part}");
        }
    };
    add(&because(record));
    if let Some(miss) = &record.nearest_miss {
        add(&format!("nearest miss: {miss}"));
    }
    if !matches!(record.kind, RecordKind::Started) && record.number > 1 {
        add(&counted(&record.counts));
    }
    if let Some(end) = record.end {
        add(&format!("ended: {end}"));
    }
    if record.source_nat_suspected {
        add("source NAT suspected");
    }
    out
}

/// Hubble's own summary: flags, protocol or ICMP type.
fn layer4(record: &Record) -> String {
    match (record.protocol, record.icmp) {
        (protocol::TCP, _) => {
            let flags = record.opener_tcp_flags();
            let names: Vec<_> = TCP_FLAGS
                .iter()
                .filter(|(_, bit)| flags & bit != 0)
                .map(|(name, _)| *name)
                .collect();
            if names.is_empty() {
                "TCP".to_owned()
            } else {
                format!("TCP Flags: {}", names.join(", "))
            }
        }
        (protocol::UDP, _) => "UDP".to_owned(),
        (protocol::SCTP, _) => "SCTP".to_owned(),
        (protocol::ICMP, icmp) => icmp4(icmp.map_or(0, |icmp| icmp.kind)),
        (protocol::ICMPV6, icmp) => icmp6(icmp.map_or(0, |icmp| icmp.kind)),
        (protocol::IGMP, _) => "IGMP".to_owned(),
        (protocol::VRRP, _) => "VRRP".to_owned(),
        (0, _) => record
            .ethertype
            .map_or_else(String::new, |number| format!("ethertype {number:#06x}")),
        (number, _) => format!("IP protocol {number}"),
    }
}

// The words are gopacket's, which Hubble prints.
fn icmp4(kind: u8) -> String {
    let name = match kind {
        0 => "EchoReply",
        3 => "DestinationUnreachable",
        5 => "Redirect",
        8 => "EchoRequest",
        11 => "TimeExceeded",
        12 => "ParameterProblem",
        13 => "TimestampRequest",
        14 => "TimestampReply",
        other => return format!("ICMPv4 {other}"),
    };
    format!("ICMPv4 {name}")
}

fn icmp6(kind: u8) -> String {
    let name = match kind {
        1 => "DestinationUnreachable",
        2 => "PacketTooBig",
        3 => "TimeExceeded",
        4 => "ParameterProblem",
        128 => "EchoRequest",
        129 => "EchoReply",
        133 => "RouterSolicitation",
        134 => "RouterAdvertisement",
        135 => "NeighborSolicitation",
        136 => "NeighborAdvertisement",
        137 => "Redirect",
        other => return format!("ICMPv6 {other}"),
    };
    format!("ICMPv6 {name}")
}

/// The rule behind the verdict, or the reason where no rule decided.
fn because(record: &Record) -> String {
    if let Rule::Policy {
        policy,
        direction,
        index,
    } = &*record.rule
    {
        return format!("by {policy} {direction} rule {index}");
    }
    let isolated_by = record.isolated_by.iter().map(ToString::to_string);
    let isolated_by = isolated_by.collect::<Vec<_>>().join(", ");
    match record.reason {
        Reason::DefaultDeny if isolated_by.is_empty() => "default deny".to_owned(),
        Reason::DefaultDeny => format!("default deny of {isolated_by}"),
        Reason::NotIsolated => match record.direction {
            Direction::Ingress => "no policy isolates the destination".to_owned(),
            Direction::Egress => "no policy isolates the source".to_owned(),
        },
        other => other.to_string().replace('_', " "),
    }
}

fn counted(counts: &Counts) -> String {
    let parts = [
        ("out", counts.egress),
        ("in", counts.ingress),
        ("out dropped", counts.egress_dropped),
        ("in dropped", counts.ingress_dropped),
    ];
    let parts = parts.iter().filter(|(_, tally)| *tally != Tally::default());
    let parts = parts.map(|(name, tally)| {
        let plural = if tally.packets == 1 { "" } else { "s" };
        format!(
            "{} packet{plural} {} bytes {name}",
            tally.packets, tally.bytes
        )
    });
    parts.collect::<Vec<_>>().join(", ")
}
