//! Packets for the programs.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

/// An Ethernet frame.
#[derive(Clone, Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// Any bytes.
    pub(super) fn raw(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same with some bytes changed.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.0);
        self
    }

    /// Offset of the transport header of a packet without options or extension headers.
    pub(super) fn transport(&self) -> usize {
        if self.0[12] == 0x08 { 34 } else { 54 }
    }
}

/// A socket address.
pub(super) fn socket(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no socket address"))
}

const MAC: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn ip(
    source: &SocketAddr,
    destination: &SocketAddr,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(MAC.0, MAC.1);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ethernet.ipv4(s.octets(), d.octets(), 64),
        (IpAddr::V6(s), IpAddr::V6(d)) => ethernet.ipv6(s.octets(), d.octets(), 64),
        _ => panic!("addresses of two families"),
    }
}

/// A TCP packet; flags as letters: `S`, `SA`, `A`, `F`, `R`.
pub(super) fn tcp(source: &str, destination: &str, flags: &str) -> Frame {
    let (source, destination) = (socket(source), socket(destination));
    let mut step = ip(&source, &destination).tcp(source.port(), destination.port(), 1, 1000);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'A' => step.ack(1),
            'F' => step.fin(),
            'R' => step.rst(),
            'P' => step.psh(),
            other => panic!("no flag {other}"),
        };
    }
    let mut frame = Vec::new();
    step.write(&mut frame, &[0; 10]).unwrap();
    Frame(frame)
}

/// A UDP packet.
pub(super) fn udp(source: &str, destination: &str) -> Frame {
    let (source, destination) = (socket(source), socket(destination));
    let mut frame = Vec::new();
    ip(&source, &destination)
        .udp(source.port(), destination.port())
        .write(&mut frame, &[0; 10])
        .unwrap();
    Frame(frame)
}

/// A packet of any protocol with this payload.
pub(super) fn other(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Frame {
    let any = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
    let mut frame = Vec::new();
    ip(&any(source), &any(destination))
        .write(&mut frame, etherparse::IpNumber(protocol), payload)
        .unwrap();
    Frame(frame)
}

/// An ICMP message between two addresses: type, code, and what follows the checksum.
pub(super) fn icmp(source: &str, destination: &str, kind: (u8, u8), rest: &[u8]) -> Frame {
    let protocol = if source.contains(':') { 58 } else { 1 };
    let mut payload = vec![kind.0, kind.1, 0, 0];
    payload.extend_from_slice(rest);
    other(source, destination, protocol, &payload)
}

/// An echo request or reply with this identifier.
pub(super) fn echo(source: &str, destination: &str, kind: u8, identifier: u16) -> Frame {
    let [high, low] = identifier.to_be_bytes();
    icmp(
        source,
        destination,
        (kind, 0),
        &[high, low, 0, 1, 0, 0, 0, 0],
    )
}

/// An ICMP error that quotes a packet.
pub(super) fn icmp_error(source: &str, destination: &str, kind: (u8, u8), quoted: &Frame) -> Frame {
    let mut rest = vec![0; 4];
    rest.extend_from_slice(&quoted.bytes()[14..]);
    icmp(source, destination, kind, &rest)
}

/// Splits a packet into fragments at these payload offsets (multiples of 8), as IPv4 or IPv6 does.
pub(super) fn fragments(frame: &Frame, identification: u32, at: &[usize]) -> Vec<Frame> {
    let v4 = frame.bytes()[12] == 0x08;
    let header = frame.transport();
    let payload = &frame.bytes()[header..];
    let mut ends: Vec<usize> = at.to_vec();
    ends.push(payload.len());
    let mut start = 0;
    let mut all = Vec::new();
    for end in ends {
        let more = end != payload.len();
        let part = &payload[start..end];
        let mut bytes = frame.bytes()[..header].to_vec();
        if v4 {
            let offset = (start as u16 / 8) | if more { 0x2000 } else { 0 };
            bytes[16..18].copy_from_slice(&((20 + part.len()) as u16).to_be_bytes());
            bytes[18..20].copy_from_slice(&(identification as u16).to_be_bytes());
            bytes[20..22].copy_from_slice(&offset.to_be_bytes());
        } else {
            let next = std::mem::replace(&mut bytes[20], 44);
            bytes[18..20].copy_from_slice(&((8 + part.len()) as u16).to_be_bytes());
            let offset = (start as u16) | u16::from(more);
            bytes.extend([next, 0]);
            bytes.extend(offset.to_be_bytes());
            bytes.extend(identification.to_be_bytes());
        }
        bytes.extend_from_slice(part);
        all.push(Frame(bytes));
        start = end;
    }
    all
}

/// Puts IPv6 extension headers (type, bytes) between the fixed header and the payload.
pub(super) fn with_extensions(frame: &Frame, extensions: &[(u8, Vec<u8>)]) -> Frame {
    let bytes = frame.bytes();
    let mut out = bytes[..54].to_vec();
    let protocol = bytes[20];
    let mut next_at = 20;
    for (kind, body) in extensions {
        out[next_at] = *kind;
        next_at = out.len();
        out.extend_from_slice(body);
    }
    out[next_at] = protocol;
    out.extend_from_slice(&bytes[54..]);
    let length = (out.len() - 54) as u16;
    out[18..20].copy_from_slice(&length.to_be_bytes());
    Frame(out)
}

/// Puts options (a multiple of four bytes) into an IPv4 header.
pub(super) fn with_options(frame: &Frame, options: &[u8]) -> Frame {
    let bytes = frame.bytes();
    let mut out = bytes[..34].to_vec();
    out.extend_from_slice(options);
    out.extend_from_slice(&bytes[34..]);
    out[14] = 0x40 | (5 + options.len() as u8 / 4);
    let length = (out.len() - 14) as u16;
    out[16..18].copy_from_slice(&length.to_be_bytes());
    Frame(out)
}

/// An ARP packet with this sender.
pub(super) fn arp(sender: &str) -> Frame {
    let sender: std::net::Ipv4Addr = sender.parse().unwrap();
    let mut bytes = vec![0xff; 6];
    bytes.extend(MAC.0);
    bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(MAC.0);
    bytes.extend(sender.octets());
    bytes.extend([0; 10]);
    Frame(bytes)
}

/// A frame of any EtherType.
pub(super) fn ethernet(ethertype: u16) -> Frame {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend([0; 46]);
    Frame(bytes)
}

/// A neighbour discovery message: type, hop limit, target (for solicitations and advertisements).
pub(super) fn neighbour(
    source: &str,
    destination: &str,
    kind: u8,
    hop_limit: u8,
    target: &str,
) -> Frame {
    let target: std::net::Ipv6Addr = target.parse().unwrap();
    let mut rest = vec![0; 4];
    rest.extend(target.octets());
    icmp(source, destination, (kind, 0), &rest).with(|bytes| bytes[21] = hop_limit)
}
