//! IPv4 (RFC 791).

use crate::abi::Reason;
use crate::address::Address4;
use crate::headers::Ipv4;
use crate::packet::{Fragmentation, NETWORK, Packet, Parsed, Result};
use crate::transport;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
const HEADER: usize = size_of::<Ipv4>();

/// Reads the IPv4 packet in a frame, options and fragments included, up to its transport header.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, out: &mut Parsed<Address4>) -> Result {
    let ip = packet.read::<Ipv4>(NETWORK).ok_or(Reason::ShortHeader)?;
    let header = usize::from(ip.version_ihl & 0xf) * 4;
    if ip.version_ihl >> 4 != 4 || header < HEADER {
        return Err(Reason::MalformedHeader);
    }
    let end = end(packet, u16::from_be(ip.total_length)) as usize;
    if end < NETWORK + header || end > packet.length() {
        return Err(Reason::MalformedHeader);
    }
    let bits = u16::from_be(ip.fragment);
    out.fragment_offset = bits & OFFSET_MASK;
    out.fragment = match (out.fragment_offset, bits & MORE_FRAGMENTS) {
        (0, 0) => Fragmentation::Whole,
        (0, _) => Fragmentation::First,
        _ => Fragmentation::Later,
    };
    out.identification = match out.fragment {
        Fragmentation::Whole => 0,
        _ => u32::from(ip.identification),
    };
    out.end = end as u32;
    fill(&ip, NETWORK + header, out);
    transport::parse(packet, NETWORK + header, transport::Icmp::V4, out)
}

/// Addresses, protocol and the place of the transport header.
#[inline(always)]
fn fill(ip: &Ipv4, transport: usize, out: &mut Parsed<Address4>) {
    out.source = Address4(ip.source);
    out.destination = Address4(ip.destination);
    out.transport = transport as u16;
    out.protocol = ip.protocol;
    out.hop_limit = ip.ttl;
}

/// The same for the usual packet (no options, no fragment, TCP, UDP or SCTP), with few steps; `None` for any other.
#[inline(always)]
pub fn parse_usual<P: Packet + ?Sized>(packet: &P) -> Option<Parsed<Address4>> {
    let ip = packet.read::<Ipv4>(NETWORK)?;
    let payload = usize::from(u16::from_be(ip.total_length)).wrapping_sub(HEADER);
    if ip.version_ihl != 0x45
        || ip.fragment & (MORE_FRAGMENTS | OFFSET_MASK).to_be() != 0
        || payload > packet.length().wrapping_sub(NETWORK + HEADER)
    {
        return None;
    }
    let (source_port, destination_port, tcp_flags) =
        transport::parse_usual(packet, NETWORK + HEADER, ip.protocol, payload)?;
    Some(Parsed {
        source: Address4(ip.source),
        destination: Address4(ip.destination),
        end: (NETWORK + HEADER + payload) as u32,
        transport: (NETWORK + HEADER) as u16,
        source_port,
        destination_port,
        protocol: ip.protocol,
        hop_limit: ip.ttl,
        tcp_flags,
        fragment: Fragmentation::Whole,
        ..Parsed::default()
    })
}

/// Where the IP packet ends. Total length 0 is a GSO packet of more than 64 KiB ("BIG TCP"): it ends with the frame.
#[inline(always)]
fn end<P: Packet + ?Sized>(packet: &P, total_length: u16) -> u32 {
    match total_length {
        0 if packet.length() > usize::from(u16::MAX) => packet.length() as u32,
        length => NETWORK as u32 + u32::from(length),
    }
}

/// The tuple of the packet that an ICMP error quotes at `at`. Its total length is not checked: a quotation is cut off.
/// `None` if it is too short, malformed or a later fragment.
#[inline(always)]
pub fn parse_quoted<P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    out: &mut Parsed<Address4>,
) -> Option<()> {
    let ip = packet.read::<Ipv4>(at)?;
    let header = usize::from(ip.version_ihl & 0xf) * 4;
    let later = u16::from_be(ip.fragment) & OFFSET_MASK != 0;
    if ip.version_ihl >> 4 != 4 || header < HEADER || later {
        return None;
    }
    fill(&ip, at + header, out);
    transport::parse_quoted(packet, at + header, transport::Icmp::V4, out)
}
