//! Fragments follow their first one, or are not let in.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

fn large(source: &str, destination: &str) -> Frame {
    udp(source, destination).with(|bytes| {
        bytes.extend([0; 190]);
        let (at, base) = if bytes[12] == 0x08 {
            (16, 14)
        } else {
            (18, 54)
        };
        let length = (bytes.len() - base) as u16;
        bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    })
}

#[test]
fn later_fragments_follow_their_first() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_UDP, 53, 53, 70)]);
        for part in fragments(&large(&side.peer(1000), &side.pod(53)), 42, &[64, 128]) {
            assert_eq!(k.sent_to_pod(&part), Action::Next);
        }
        assert_eq!(k.flows().len(), 1);
        let flow = k
            .flow(&side.pod(53), &side.peer(1000), IPPROTO_UDP)
            .unwrap();
        assert_eq!((flow.ingress.packets, flow.rule), (3, 70));
    });
}

#[test]
fn the_fragments_of_a_refused_packet_are_one_denial() {
    with_each_family(|k, side| {
        k.isolate();
        for part in fragments(&large(&side.peer(1000), &side.pod(53)), 43, &[64, 128]) {
            assert_eq!(k.sent_to_pod(&part), Action::Drop);
        }
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 53, 3)]
        );
    });
}

#[test]
fn a_fragment_ahead_of_its_first_is_refused_where_isolated() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let parts = fragments(&large(&side.peer(1000), &side.pod(53)), 44, &[64]);
        assert_eq!(k.sent_to_pod(&parts[1]), Action::Drop);
        assert_eq!(
            k.refusals(),
            [(Reason::FragNoFirst, Direction::Ingress, 0, 1)]
        );
        assert_eq!(k.sent_to_pod(&parts[0]), Action::Next);
        assert_eq!(k.sent_to_pod(&parts[1]), Action::Next);
    });
}

#[test]
fn a_fragment_ahead_of_its_first_is_a_flow_without_ports_where_open() {
    with_each_family(|k, side| {
        let parts = fragments(&large(&side.peer(1000), &side.pod(53)), 45, &[64]);
        assert_eq!(k.sent_to_pod(&parts[1]), Action::Next);
        assert!(k.flow(&side.pod(0), &side.peer(0), IPPROTO_UDP).is_some());
    });
}

#[test]
fn fragments_of_different_packets_are_not_mixed_up() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_UDP, 53, 53, 70)]);
        let allowed = fragments(&large(&side.peer(1000), &side.pod(53)), 46, &[64]);
        let refused = fragments(&large(&side.peer(1000), &side.pod(54)), 47, &[64]);
        assert_eq!(k.sent_to_pod(&allowed[0]), Action::Next);
        assert_eq!(k.sent_to_pod(&refused[0]), Action::Drop);
        assert_eq!(k.sent_to_pod(&refused[1]), Action::Drop);
        assert_eq!(k.sent_to_pod(&allowed[1]), Action::Next);
    });
}

#[test]
fn what_the_pod_sends_names_no_ports_for_fragments_to_it() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_UDP, 53, 53, 70)]);
        let forged = fragments(&large(&side.peer(1000), &side.pod(53)), 48, &[64]);
        assert_eq!(
            k.sent_by_pod(&forged[0]),
            Action::Drop,
            "not the pod's address"
        );
        assert_eq!(k.sent_to_pod(&forged[1]), Action::Drop);
        assert_eq!(k.refusals()[1].0, Reason::SpoofedSource);
        assert_eq!(k.refusals()[0].0, Reason::FragNoFirst);
    });
}

#[test]
fn a_first_fragment_too_short_for_its_ports_is_refused() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let parts = fragments(&tcp(&side.peer(1000), &side.pod(53), "S"), 49, &[8, 16]);
        assert_eq!(k.sent_to_pod(&parts[0]), Action::Drop);
        // Offset 8 of a TCP header holds its flags: nobody cuts there in good faith.
        assert_eq!(k.sent_to_pod(&parts[1]), Action::Drop);
        assert_eq!(
            k.refusals(),
            [(Reason::FragTooShort, Direction::Ingress, 0, 2)]
        );
    });
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    with_kernel(|k| {
        k.isolate();
        k.peer("fd01::1", 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_UDP, 53, 53, 70)]);
        let packet = with_extensions(&udp("[fd01::1]:1", "[fd00::5]:53"), &[(44, vec![0; 8])]);
        assert_eq!(k.sent_to_pod(&packet), Action::Next);
        assert!(k.flow("[fd00::5]:53", "[fd01::1]:1", IPPROTO_UDP).is_some());
    });
}
