//! The packets: as Linux sends them, with the usual TCP options.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};

/// The pod's addresses.
pub(super) const POD: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(10, 0, 0, 5),
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5),
);
/// The other side's: pod number [`PEER_NUMBER`] of the cluster.
pub(super) const PEER_NUMBER: u16 = 775;
/// A port that the policies allow.
pub(super) const ALLOWED: u16 = 10_500;
/// One that they do not.
pub(super) const FORBIDDEN: u16 = 20_000;
/// The port of the side that opens.
pub(super) const EPHEMERAL: u16 = 40_000;

/// The addresses of the cluster's pod with this number.
pub(super) fn peer(number: u16) -> (Ipv4Addr, Ipv6Addr) {
    let [high, low] = number.to_be_bytes();
    (
        Ipv4Addr::new(10, 1, high, low),
        Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, number),
    )
}

/// An IP version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Where the source port of a packet without IP options stands; the destination port follows it.
    pub(super) fn source_port(self) -> usize {
        match self {
            Self::V4 => 34,
            Self::V6 => 54,
        }
    }
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Pod,
    Peer,
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Syn,
    SynAck,
    /// ACK and PSH.
    Data,
    Udp,
}

/// A frame from one side to the other, from and to these ports, with `payload` bytes.
pub(super) fn frame(
    family: Family,
    sender: Sender,
    kind: Kind,
    ports: (u16, u16),
    payload: usize,
) -> Result<Vec<u8>> {
    let (from, to) = match sender {
        Sender::Pod => (POD, peer(PEER_NUMBER)),
        Sender::Peer => (peer(PEER_NUMBER), POD),
    };
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match family {
        Family::V4 => ethernet.ipv4(from.0.octets(), to.0.octets(), 64),
        Family::V6 => ethernet.ipv6(from.1.octets(), to.1.octets(), 64),
    };
    let mut bytes = Vec::new();
    let payload = vec![0; payload];
    match kind {
        Kind::Udp => ip.udp(ports.0, ports.1).write(&mut bytes, &payload),
        _ => ip.tcp_header(tcp(kind, ports)?).write(&mut bytes, &payload),
    }
    .context("building a packet")?;
    Ok(bytes)
}

fn tcp(kind: Kind, ports: (u16, u16)) -> Result<TcpHeader> {
    let mut header = TcpHeader::new(ports.0, ports.1, 1000, 65_000);
    header.syn = matches!(kind, Kind::Syn | Kind::SynAck);
    header.ack = kind != Kind::Syn;
    header.psh = kind == Kind::Data;
    let timestamps = TcpOptionElement::Timestamp(1, 1);
    let options = if header.syn {
        vec![
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            timestamps,
            TcpOptionElement::WindowScale(7),
        ]
    } else {
        vec![timestamps]
    };
    header
        .set_options(&options)
        .context("building TCP options")?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::SlicedPacket;

    #[test]
    fn ports_stand_where_the_wrapper_writes_them() {
        for family in [Family::V4, Family::V6] {
            for kind in [Kind::Syn, Kind::SynAck, Kind::Data, Kind::Udp] {
                let bytes = frame(family, Sender::Pod, kind, (0x1234, 0x5678), 64).unwrap();
                let at = family.source_port();
                assert_eq!(bytes[at..at + 4], [0x12, 0x34, 0x56, 0x78]);
                assert!(SlicedPacket::from_ethernet(&bytes).is_ok());
            }
        }
    }
}
