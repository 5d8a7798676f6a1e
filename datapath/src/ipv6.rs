//! IPv6 and its extension headers (RFC 8200).

use crate::abi::Reason;
use crate::address::Address6;
use crate::headers::{Extension, Fragment6, Ipv6};
use crate::packet::{Fragmentation, NETWORK, Packet, Parsed, Result};
use crate::transport;

/// The most extension headers that are walked.
pub const MAX_EXTENSIONS: usize = 8;
/// The furthest offset at which a transport header is looked for.
const MAX_OFFSET: usize = 1500;
const HEADER: usize = size_of::<Ipv6>();

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Where the walk of the extension headers stands.
struct Walk {
    next: u8,
    at: usize,
    /// Fragment offset in 8-byte units.
    offset: u16,
    fragment: Fragmentation,
    fragments: u8,
    identification: u32,
}

enum Step {
    /// An extension header was passed.
    On,
    /// `next` is the transport protocol.
    Done,
}

/// Reads the IPv6 packet in a frame up to its transport header.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Parsed<Address6>> {
    let ip = packet.read::<Ipv6>(NETWORK).ok_or(Reason::ShortHeader)?;
    if u32::from_be(ip.version) >> 28 != 6 {
        return Err(Reason::MalformedHeader);
    }
    let end = end(packet, u16::from_be(ip.payload_length)) as usize;
    if end > packet.length() {
        return Err(Reason::MalformedHeader);
    }
    let mut walk = Walk::new(ip.next_header, NETWORK + HEADER);
    walk.run(packet)?;
    if walk.at > end {
        return Err(Reason::ShortHeader);
    }
    let mut parsed = Parsed {
        source: ip.source,
        destination: ip.destination,
        identification: walk.identification,
        end: end as u32,
        transport: walk.at as u16,
        source_port: 0,
        destination_port: 0,
        protocol: walk.next,
        hop_limit: ip.hop_limit,
        tcp_flags: 0,
        fragment: walk.fragment,
    };
    transport::parse(
        packet,
        walk.at,
        walk.offset,
        transport::Icmp::V6,
        &mut parsed,
    )?;
    Ok(parsed)
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
        identification: 0,
        end: (NETWORK + HEADER + payload) as u32,
        transport: (NETWORK + HEADER) as u16,
        source_port,
        destination_port,
        protocol: ip.next_header,
        hop_limit: ip.hop_limit,
        tcp_flags,
        fragment: Fragmentation::Whole,
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
pub fn parse_quoted<P: Packet + ?Sized>(packet: &P, at: usize) -> Option<Parsed<Address6>> {
    let ip = packet.read::<Ipv6>(at)?;
    if u32::from_be(ip.version) >> 28 != 6 {
        return None;
    }
    let mut walk = Walk::new(ip.next_header, at + HEADER);
    walk.run(packet).ok()?;
    if matches!(walk.fragment, Fragmentation::Later) {
        return None;
    }
    let mut parsed = Parsed {
        source: ip.source,
        destination: ip.destination,
        identification: 0,
        end: 0,
        transport: walk.at as u16,
        source_port: 0,
        destination_port: 0,
        protocol: walk.next,
        hop_limit: ip.hop_limit,
        tcp_flags: 0,
        fragment: Fragmentation::Whole,
    };
    transport::parse_quoted(packet, walk.at, transport::Icmp::V6, &mut parsed)?;
    Some(parsed)
}

impl Walk {
    #[inline(always)]
    fn new(next: u8, at: usize) -> Self {
        Self {
            next,
            at,
            offset: 0,
            fragment: Fragmentation::Whole,
            fragments: 0,
            identification: 0,
        }
    }

    #[inline(always)]
    fn run<P: Packet + ?Sized>(&mut self, packet: &P) -> Result<()> {
        let mut count = 0;
        // One more step than headers: the last one has to find the transport protocol.
        while count <= MAX_EXTENSIONS {
            match self.step(packet)? {
                Step::Done => return Ok(()),
                Step::On if self.at > MAX_OFFSET => return Err(Reason::ExtensionHeaders),
                Step::On => count += 1,
            }
        }
        Err(Reason::ExtensionHeaders)
    }

    /// Not inlined: nine copies of it would not fit the kernel's stack.
    #[inline(never)]
    fn step<P: Packet + ?Sized>(&mut self, packet: &P) -> Result<Step> {
        if matches!(self.fragment, Fragmentation::Later) {
            return Ok(Step::Done);
        }
        match self.next {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => {
                self.extension(packet, 8, 1)
            }
            AUTHENTICATION => self.extension(packet, 4, 2),
            FRAGMENT => self.fragment(packet),
            _ => Ok(Step::Done),
        }
    }

    /// Passes a header whose length field counts units of `unit` bytes and leaves out the first `plus` of them.
    #[inline(always)]
    fn extension<P: Packet + ?Sized>(
        &mut self,
        packet: &P,
        unit: usize,
        plus: usize,
    ) -> Result<Step> {
        let header = packet
            .read::<Extension>(self.at)
            .ok_or(Reason::ShortHeader)?;
        self.next = header.next_header;
        self.at += (usize::from(header.length) + plus) * unit;
        Ok(Step::On)
    }

    #[inline(always)]
    fn fragment<P: Packet + ?Sized>(&mut self, packet: &P) -> Result<Step> {
        let header = packet
            .read::<Fragment6>(self.at)
            .ok_or(Reason::ShortHeader)?;
        self.fragments += 1;
        if self.fragments > 1 {
            return Err(Reason::ExtensionHeaders);
        }
        let bits = u16::from_be(header.offset);
        self.offset = bits >> 3;
        self.fragment = match (bits >> 3, bits & 1) {
            (0, 0) => Fragmentation::Whole,
            (0, _) => Fragmentation::First,
            _ => Fragmentation::Later,
        };
        self.identification = header.identification;
        self.next = header.next_header;
        self.at += size_of::<Fragment6>();
        Ok(Step::On)
    }
}
