//! Frames are read back by etherparse, which shares no code with their making.

use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};

use super::*;

const V4: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 244, 1, 2), Ipv4Addr::new(10, 244, 2, 3));
const V6: (Ipv6Addr, Ipv6Addr) = (
    Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 2),
    Ipv6Addr::new(0xfd00, 0x10, 0x244, 2, 0, 0, 0, 3),
);

fn both(transport: &Transport) -> [Vec<u8>; 2] {
    [
        Packet::v4(V4.0, V4.1, transport.clone()).frame(),
        Packet::v6(V6.0, V6.1, transport.clone()).frame(),
    ]
}

#[test]
fn a_tcp_segment_reads_back_with_a_valid_checksum_in_both_families() {
    let transport = Transport::Tcp(Tcp {
        source_port: 40000,
        destination_port: 80,
        sequence: 7,
        acknowledgment: 9,
        flags: TcpFlags::PSH | TcpFlags::ACK,
        payload: b"odd".to_vec(),
    });
    for frame in both(&transport) {
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            panic!("no TCP")
        };
        let header = tcp.to_header();
        assert_eq!((header.source_port, header.destination_port), (40000, 80));
        assert_eq!(
            (header.sequence_number, header.acknowledgment_number),
            (7, 9)
        );
        assert!(header.psh && header.ack && !header.syn && !header.fin && !header.rst);
        assert_eq!(tcp.payload(), b"odd");
        let sum = match packet.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let ip = ip.header().to_header();
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                header.calc_checksum_ipv4(&ip, b"odd").unwrap()
            }
            NetSlice::Ipv6(ip) => header
                .calc_checksum_ipv6(&ip.header().to_header(), b"odd")
                .unwrap(),
            NetSlice::Arp(_) => panic!("no IP"),
        };
        assert_eq!(header.checksum, sum);
    }
}

#[test]
fn a_datagram_reads_back_with_a_valid_checksum_in_both_families() {
    for frame in both(&Transport::udp(5353, 53, b"query")) {
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = &packet.transport else {
            panic!("no UDP")
        };
        let header = udp.to_header();
        let sum = match packet.net.unwrap() {
            NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), b"query"),
            NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), b"query"),
            NetSlice::Arp(_) => panic!("no IP"),
        };
        assert_eq!(
            (header.source_port, header.destination_port, header.length),
            (5353, 53, 13)
        );
        assert_eq!(header.checksum, sum.unwrap());
    }
}

#[test]
fn icmp_has_the_number_and_checksum_of_its_family() {
    let echo = |icmp_type| Transport::Icmp {
        icmp_type,
        code: 0,
        word: [0, 1, 0, 2],
        payload: b"ping".to_vec(),
    };
    let frame = Packet::v4(V4.0, V4.1, echo(8)).frame();
    let Some(TransportSlice::Icmpv4(icmp)) = SlicedPacket::from_ethernet(&frame).unwrap().transport
    else {
        panic!("no ICMP")
    };
    assert_eq!(
        etherparse::Icmpv4Header::with_checksum(icmp.icmp_type(), icmp.payload()).checksum,
        icmp.checksum()
    );
    let frame = Packet::v6(V6.0, V6.1, echo(128)).frame();
    let Some(TransportSlice::Icmpv6(icmp)) = SlicedPacket::from_ethernet(&frame).unwrap().transport
    else {
        panic!("no ICMPv6")
    };
    assert!(icmp.is_checksum_valid(V6.0.octets(), V6.1.octets()));
}

#[test]
fn ipv4_options_are_padded_and_do_not_hide_the_ports() {
    let packet =
        Packet::v4(V4.0, V4.1, Transport::tcp(1, 2, TcpFlags::SYN)).ipv4_options(&[1, 1, 1, 1, 1]);
    let frame = packet.frame();
    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = sliced.net else {
        panic!("no IPv4")
    };
    assert_eq!(ip.header().options(), [1, 1, 1, 1, 1, 0, 0, 0]);
    assert!(
        matches!(sliced.transport, Some(TransportSlice::Tcp(tcp)) if tcp.syn() && tcp.destination_port() == 2)
    );
}

#[test]
fn extension_headers_follow_each_other_as_given() {
    let frame = Packet::v6(V6.0, V6.1, Transport::tcp(1, 2, TcpFlags::SYN))
        .extension(Extension::HopByHop { units: 1 })
        .extension(Extension::Routing { units: 3 })
        .extension(Extension::Authentication)
        .extension(Extension::DestinationOptions { units: 32 })
        .frame();
    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &sliced.net else {
        panic!("no IPv6")
    };
    assert_eq!(ip.header().next_header(), IpNumber::IPV6_HEADER_HOP_BY_HOP);
    assert_eq!(ip.extensions().slice().len(), 8 + 24 + 24 + 256);
    assert!(
        matches!(sliced.transport, Some(TransportSlice::Tcp(tcp)) if tcp.syn() && tcp.destination_port() == 2)
    );
}

#[test]
fn fragments_carry_the_whole_payload_once_and_only_the_last_ends_it() {
    let transport = Transport::udp(1, 2, &[0xab; 100]);
    for packet in [
        Packet::v4(V4.0, V4.1, transport.clone()),
        Packet::v6(V6.0, V6.1, transport.clone()),
    ] {
        let mut reassembled = Vec::new();
        let frames = packet.fragments(50);
        assert_eq!(frames.len(), 3); // 108 bytes in pieces of 48
        for (n, frame) in frames.iter().enumerate() {
            let sliced = SlicedPacket::from_ethernet(frame).unwrap();
            let (offset, more, payload) = match sliced.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    let header = ip.header().to_header();
                    (
                        header.fragment_offset.byte_offset(),
                        header.more_fragments,
                        ip.payload().payload.to_vec(),
                    )
                }
                NetSlice::Ipv6(ip) => {
                    let fragment =
                        ip.extensions()
                            .clone()
                            .into_iter()
                            .find_map(|extension| match extension {
                                etherparse::Ipv6ExtensionSlice::Fragment(fragment) => {
                                    Some(fragment.to_header())
                                }
                                _ => None,
                            });
                    let header = fragment.unwrap();
                    (
                        header.fragment_offset.byte_offset(),
                        header.more_fragments,
                        ip.payload().payload.to_vec(),
                    )
                }
                NetSlice::Arp(_) => panic!("no IP"),
            };
            assert_eq!(usize::from(offset), reassembled.len());
            assert_eq!(more, n < 2);
            reassembled.extend(payload);
        }
        assert_eq!(reassembled.len(), 108);
        assert_eq!(reassembled[..4], [0, 1, 0, 2]);
    }
}
