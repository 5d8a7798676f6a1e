//! The parser alone, on the host: any bytes, damaged packets, packets cut short; another parser as the judge.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use weir_datapath::packet::{Fragmentation, Parsed};
use weir_datapath::{ipv4, ipv6};

/// What both parsers say of a packet: protocol, source and destination port.
type Ports = (u8, u16, u16);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet that our parser takes, whole and with ports.
fn read(frame: &[u8]) -> Option<Ports> {
    fn ports<A>(parsed: &Parsed<A>) -> Option<Ports> {
        let has_ports = matches!(parsed.protocol, TCP | UDP);
        let is_whole = parsed.fragment == Fragmentation::Whole;
        (has_ports && is_whole).then_some((
            parsed.protocol,
            parsed.source_port,
            parsed.destination_port,
        ))
    }
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let mut parsed = Parsed::default();
            let result = ipv4::parse(frame, &mut parsed);
            if let Some(usual) = ipv4::parse_usual(frame) {
                assert_eq!(
                    (result, usual),
                    (Ok(()), parsed),
                    "the short way says the same"
                );
            }
            result.ok().and_then(|()| ports(&parsed))
        }
        [0x86, 0xdd] => {
            let mut parsed = Parsed::default();
            let result = ipv6::parse(frame, &mut parsed);
            if let Some(usual) = ipv6::parse_usual(frame) {
                assert_eq!(
                    (result, usual),
                    (Ok(()), parsed),
                    "the short way says the same"
                );
            }
            result.ok().and_then(|()| ports(&parsed))
        }
        _ => None,
    }
}

/// The same by the judge, which reads nothing behind a header that makes no sense.
fn judge(frame: &[u8]) -> Option<Ports> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let is_fragment = match packet.net? {
        NetSlice::Ipv4(ip) => ip.header().is_fragmenting_payload(),
        NetSlice::Ipv6(ip) => ip.is_payload_fragmented(),
        NetSlice::Arp(_) => return None,
    };
    match packet.transport? {
        _ if is_fragment => None,
        TransportSlice::Tcp(tcp) => Some((TCP, tcp.source_port(), tcp.destination_port())),
        TransportSlice::Udp(udp) => Some((UDP, udp.source_port(), udp.destination_port())),
        _ => None,
    }
}

/// A TCP or UDP packet of either family.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    (any::<[bool; 2]>(), any::<[u16; 2]>(), payload).prop_map(
        |([is_v6, is_tcp], ports, payload)| {
            let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
            let ip = if is_v6 {
                ethernet.ipv6([0xfd; 16], [0xfe; 16], 64)
            } else {
                ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            };
            let mut frame = Vec::new();
            let written = if is_tcp {
                ip.tcp(ports[0], ports[1], 7, 1000)
                    .syn()
                    .write(&mut frame, &payload)
            } else {
                ip.udp(ports[0], ports[1]).write(&mut frame, &payload)
            };
            written.expect("a vector takes everything");
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn any_bytes_are_read_without_panic(ipv6 in any::<bool>(), mut frame in prop::collection::vec(any::<u8>(), 14..200)) {
        let ethertype: u16 = if ipv6 { 0x86dd } else { 0x0800 };
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        read(&frame);
    }

    #[test]
    fn a_damaged_packet_has_the_ports_that_another_parser_finds_or_none(
        frame in packet(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut frame = frame;
        for (at, byte) in damage {
            let at = 14 + at.index(frame.len() - 14);
            frame[at] = byte;
        }
        if let (Some(ours), Some(theirs)) = (read(&frame), judge(&frame)) {
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_packet_cut_short_is_never_another_one(frame in packet(), at in any::<prop::sample::Index>()) {
        let whole = read(&frame);
        prop_assert!(whole.is_some() && whole == judge(&frame));
        let cut = read(&frame[..at.index(frame.len())]);
        prop_assert!(cut.is_none() || cut == whole);
    }
}
