//! Packets that open a connection, one for each protocol that policies can name.

use std::net::IpAddr;

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};
use weir_policy::model::Protocol;

/// An SCTP packet with an INIT chunk (RFC 9260 §3.3.2): ports, tag 0, checksum left out, one stream each way.
fn sctp_init(source: u16, destination: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(32);
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20]); // INIT, no flags, length
    packet.extend(1_u32.to_be_bytes()); // initiate tag
    packet.extend(0xffff_u32.to_be_bytes()); // receiver window
    packet.extend([0, 1, 0, 1]); // streams
    packet.extend(1_u32.to_be_bytes()); // initial TSN
    packet
}

/// An Ethernet frame with a TCP SYN, a UDP datagram or an SCTP INIT. `None` if the addresses are of different families.
pub(super) fn opener(
    protocol: Protocol,
    (source, source_port): (IpAddr, u16),
    (destination, port): (IpAddr, u16),
) -> Option<Vec<u8>> {
    const TTL: u8 = 64;
    // The loopback device's address is all zeros: a frame to it is for this host.
    let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
    let ip = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), TTL)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), TTL)
        }
        _ => return None,
    };
    build(ip, protocol, source_port, port)
}

fn build(
    ip: PacketBuilderStep<etherparse::IpHeaders>,
    protocol: Protocol,
    source: u16,
    destination: u16,
) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(96);
    let written = match protocol {
        Protocol::Tcp => ip
            .tcp(source, destination, 1, 65_535)
            .syn()
            .write(&mut frame, &[]),
        Protocol::Udp => ip.udp(source, destination).write(&mut frame, b"weir"),
        Protocol::Sctp => ip.write(&mut frame, IpNumber::SCTP, &sctp_init(source, destination)),
    };
    written.ok().map(|()| frame)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn openers_are_well_formed() {
        let (v4, v6) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        for address in [v4, v6] {
            let frame = opener(Protocol::Tcp, (address, 40_000), (address, 80)).unwrap();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
                panic!("{packet:?}")
            };
            assert!(tcp.syn() && !tcp.ack());
            assert_eq!(tcp.destination_port(), 80);
            let frame = opener(Protocol::Sctp, (address, 40_000), (address, 80)).unwrap();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let payload = match packet.net {
                Some(NetSlice::Ipv4(ip)) => ip.payload().payload.to_vec(),
                Some(NetSlice::Ipv6(ip)) => ip.payload().payload.to_vec(),
                other => panic!("{other:?}"),
            };
            assert_eq!(payload[12..16], [1, 0, 0, 20]);
        }
        assert_eq!(opener(Protocol::Udp, (v4, 1), (v6, 2)), None);
    }
}
