//! Transport headers: ports, TCP flags, ICMP type and identifier.

use crate::abi::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, Reason};
use crate::headers;
use crate::icmp;
use crate::packet::{Fragmentation, Packet, Parsed, Result};

/// Which ICMP belongs to the network layer; the other one is just a protocol number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Icmp {
    /// ICMP for IPv4.
    V4,
    /// ICMPv6.
    V6,
}

const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const SCTP_HEADER: usize = 12;
const ICMP_HEADER: usize = 8;

/// Fills ports and flags from the transport header at `at`.
#[inline(always)]
pub fn parse<A, P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    icmp: Icmp,
    parsed: &mut Parsed<A>,
) -> Result {
    (
        parsed.source_port,
        parsed.destination_port,
        parsed.tcp_flags,
    ) = (0, 0, 0);
    if matches!(parsed.fragment, Fragmentation::Later) {
        // A TCP fragment at offset 1 would overwrite the flags of the first one (RFC 3128).
        return match (parsed.protocol, parsed.fragment_offset) {
            (IPPROTO_TCP, 1) => Err(Reason::FragTooShort),
            _ => Ok(()),
        };
    }
    let room = parsed.end as usize;
    let missing = match parsed.fragment {
        Fragmentation::First => Reason::FragTooShort,
        _ => Reason::ShortHeader,
    };
    let header = match parsed.protocol {
        IPPROTO_TCP => TCP_HEADER,
        IPPROTO_UDP => UDP_HEADER,
        IPPROTO_SCTP => SCTP_HEADER,
        IPPROTO_ICMP if icmp == Icmp::V4 => ICMP_HEADER,
        IPPROTO_ICMPV6 if icmp == Icmp::V6 => ICMP_HEADER,
        _ => return Ok(()),
    };
    if at + header > room {
        return Err(missing);
    }
    read(packet, at, icmp, parsed).ok_or(Reason::ShortHeader)
}

/// Ports and flags of a whole TCP, UDP or SCTP packet whose transport part is `room` bytes long; `None` for any other.
#[inline(always)]
pub fn parse_usual<P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    protocol: u8,
    room: usize,
) -> Option<(u16, u16, u8)> {
    match protocol {
        IPPROTO_TCP if room >= TCP_HEADER => {
            let tcp = packet.read::<headers::Tcp>(at)?;
            Some((
                u16::from_be(tcp.source),
                u16::from_be(tcp.destination),
                tcp.flags,
            ))
        }
        IPPROTO_UDP if room >= UDP_HEADER => usual_ports(packet, at),
        IPPROTO_SCTP if room >= SCTP_HEADER => usual_ports(packet, at),
        _ => None,
    }
}

#[inline(always)]
fn usual_ports<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<(u16, u16, u8)> {
    let ports = packet.read::<headers::Ports>(at)?;
    Some((
        u16::from_be(ports.source),
        u16::from_be(ports.destination),
        0,
    ))
}

/// The same for the first bytes that an ICMP error quotes: eight of them are promised (RFC 792), so TCP flags are not read.
#[inline(always)]
pub fn parse_quoted<A, P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    icmp: Icmp,
    parsed: &mut Parsed<A>,
) -> Option<()> {
    (
        parsed.source_port,
        parsed.destination_port,
        parsed.tcp_flags,
    ) = (0, 0, 0);
    match parsed.protocol {
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP => ports(packet, at, parsed),
        _ => read(packet, at, icmp, parsed),
    }
}

#[inline(always)]
fn read<A, P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    icmp: Icmp,
    parsed: &mut Parsed<A>,
) -> Option<()> {
    match parsed.protocol {
        IPPROTO_TCP => {
            let tcp = packet.read::<headers::Tcp>(at)?;
            parsed.source_port = u16::from_be(tcp.source);
            parsed.destination_port = u16::from_be(tcp.destination);
            parsed.tcp_flags = tcp.flags;
        }
        IPPROTO_UDP | IPPROTO_SCTP => ports(packet, at, parsed)?,
        IPPROTO_ICMP if icmp == Icmp::V4 => icmp_query(packet, at, icmp, parsed)?,
        IPPROTO_ICMPV6 if icmp == Icmp::V6 => icmp_query(packet, at, icmp, parsed)?,
        _ => {}
    }
    Some(())
}

#[inline(always)]
fn ports<A, P: Packet + ?Sized>(packet: &P, at: usize, parsed: &mut Parsed<A>) -> Option<()> {
    let ports = packet.read::<headers::Ports>(at)?;
    parsed.source_port = u16::from_be(ports.source);
    parsed.destination_port = u16::from_be(ports.destination);
    Some(())
}

#[inline(always)]
fn icmp_query<A, P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    family: Icmp,
    parsed: &mut Parsed<A>,
) -> Option<()> {
    let header = packet.read::<headers::Icmp>(at)?;
    parsed.destination_port = u16::from(header.kind) << 8 | u16::from(header.code);
    if icmp::request_of(family, header.kind).is_some() {
        parsed.source_port = u16::from_be(header.identifier);
    }
    Some(())
}
