//! IPv6 and its extension headers (RFC 8200).

use crate::abi::Reason;
use crate::address::Address6;
use crate::headers::{Extension, Fragment6, Ipv6};
use crate::packet::{Fragmentation, NETWORK, Packet, Parsed, Result};
use crate::transport;

/// The most extension headers that are walked.
pub const MAX_EXTENSIONS: usize = 8;
/// The furthest offset at which a transport header is looked for.
const MAX_OFFSET: u16 = 1500;
const HEADER: usize = size_of::<Ipv6>();

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// What one step of the walk came to.
enum Step {
    /// An extension header was passed.
    On,
    /// The transport protocol is known.
    Done,
    /// Cut off.
    Short,
    /// Two fragment headers.
    Refused,
}

/// Reads the IPv6 packet in a frame up to its transport header.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, out: &mut Parsed<Address6>) -> Result {
    let ip = packet.read::<Ipv6>(NETWORK).ok_or(Reason::ShortHeader)?;
    if u32::from_be(ip.version) >> 28 != 6 {
        return Err(Reason::MalformedHeader);
    }
    out.end = end(packet, u16::from_be(ip.payload_length));
    if out.end as usize > packet.length() {
        return Err(Reason::MalformedHeader);
    }
    fill(&ip, NETWORK + HEADER, out);
    walk(packet, out)?;
    if u32::from(out.transport) > out.end {
        return Err(Reason::ShortHeader);
    }
    transport::parse(packet, usize::from(out.transport), transport::Icmp::V6, out)
}

/// All that the fixed header says; the walk begins behind it.
#[inline(always)]
fn fill(ip: &Ipv6, next: usize, out: &mut Parsed<Address6>) {
    out.source = ip.source;
    out.destination = ip.destination;
    out.identification = 0;
    out.transport = next as u16;
    out.fragment_offset = 0;
    out.fragment_headers = 0;
    out.protocol = ip.next_header;
    out.hop_limit = ip.hop_limit;
    out.fragment = Fragmentation::Whole;
}

/// The same for the usual packet (no extension headers, TCP, UDP or SCTP), with few steps; `None` for any other.
#[inline(always)]
pub fn parse_usual<P: Packet + ?Sized>(packet: &P) -> Option<Parsed<Address6>> {
    let ip = packet.read::<Ipv6>(NETWORK)?;
    let payload = usize::from(u16::from_be(ip.payload_length));
    if ip.version & 0xf000_0000_u32.to_be() != 0x6000_0000_u32.to_be()
        || payload > packet.length().wrapping_sub(NETWORK + HEADER)
    {
        return None;
    }
    let (source_port, destination_port, tcp_flags) =
        transport::parse_usual(packet, NETWORK + HEADER, ip.next_header, payload)?;
    Some(Parsed {
        source: ip.source,
        destination: ip.destination,
        end: (NETWORK + HEADER + payload) as u32,
        transport: (NETWORK + HEADER) as u16,
        source_port,
        destination_port,
        protocol: ip.next_header,
        hop_limit: ip.hop_limit,
        tcp_flags,
        fragment: Fragmentation::Whole,
        ..Parsed::default()
    })
}

/// Where the IP packet ends. Payload length 0 with more than 64 KiB is a jumbogram or "BIG TCP": it ends with the frame.
#[inline(always)]
fn end<P: Packet + ?Sized>(packet: &P, payload_length: u16) -> u32 {
    match payload_length {
        0 if packet.length() > usize::from(u16::MAX) => packet.length() as u32,
        length => (NETWORK + HEADER) as u32 + u32::from(length),
    }
}

/// The tuple of the packet that an ICMPv6 error quotes at `at`; `None` if it is too short, malformed or a later fragment.
#[inline(always)]
pub fn parse_quoted<P: Packet + ?Sized>(
    packet: &P,
    at: usize,
    out: &mut Parsed<Address6>,
) -> Option<()> {
    let ip = packet.read::<Ipv6>(at)?;
    if u32::from_be(ip.version) >> 28 != 6 {
        return None;
    }
    fill(&ip, at + HEADER, out);
    walk(packet, out).ok()?;
    match out.fragment {
        Fragmentation::Later => None,
        _ => transport::parse_quoted(packet, usize::from(out.transport), transport::Icmp::V6, out),
    }
}

/// Moves `out.transport` and `out.protocol` past all extension headers.
#[inline(always)]
fn walk<P: Packet + ?Sized>(packet: &P, out: &mut Parsed<Address6>) -> Result {
    let mut count = 0;
    // One more step than headers: the last one has to find the transport protocol.
    while count <= MAX_EXTENSIONS {
        match step(packet, out) {
            Step::Done => return Ok(()),
            Step::On if out.transport > MAX_OFFSET => return Err(Reason::ExtensionHeaders),
            Step::On => count += 1,
            Step::Short => return Err(Reason::ShortHeader),
            Step::Refused => return Err(Reason::ExtensionHeaders),
        }
    }
    Err(Reason::ExtensionHeaders)
}

/// Not inlined: nine copies of it would not fit the kernel's stack, and all that it knows must go through `out`.
#[inline(never)]
fn step<P: Packet + ?Sized>(packet: &P, out: &mut Parsed<Address6>) -> Step {
    if matches!(out.fragment, Fragmentation::Later) {
        return Step::Done;
    }
    match out.protocol {
        HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => extension(packet, 8, 1, out),
        AUTHENTICATION => extension(packet, 4, 2, out),
        FRAGMENT => fragment(packet, out),
        _ => Step::Done,
    }
}

/// Passes a header whose length field counts units of `unit` bytes and leaves out the first `plus` of them.
#[inline(always)]
fn extension<P: Packet + ?Sized>(
    packet: &P,
    unit: u16,
    plus: u16,
    out: &mut Parsed<Address6>,
) -> Step {
    let Some(header) = packet.read::<Extension>(usize::from(out.transport)) else {
        return Step::Short;
    };
    out.protocol = header.next_header;
    out.transport += (u16::from(header.length) + plus) * unit;
    Step::On
}

#[inline(always)]
fn fragment<P: Packet + ?Sized>(packet: &P, out: &mut Parsed<Address6>) -> Step {
    let Some(header) = packet.read::<Fragment6>(usize::from(out.transport)) else {
        return Step::Short;
    };
    if out.fragment_headers != 0 {
        return Step::Refused;
    }
    let bits = u16::from_be(header.offset);
    out.fragment_headers = 1;
    out.fragment_offset = bits >> 3;
    out.fragment = match (bits >> 3, bits & 1) {
        (0, 0) => Fragmentation::Whole,
        (0, _) => Fragmentation::First,
        _ => Fragmentation::Later,
    };
    out.identification = header.identification;
    out.protocol = header.next_header;
    out.transport += size_of::<Fragment6>() as u16;
    Step::On
}
