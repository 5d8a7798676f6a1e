//! Odd headers: read as they are, or refused with a name where the endpoint is isolated.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

/// What an isolated and an open endpoint do with a frame in both directions.
fn is_refused_as(k: &mut Kernel, frame: &Frame, reason: Reason) {
    for direction in [Direction::Ingress, Direction::Egress] {
        k.reset();
        k.change_endpoint(|endpoint| endpoint.flags = 0);
        assert_eq!(
            k.send(direction, frame),
            Action::Next,
            "{reason:?} on an open endpoint"
        );
        assert_eq!(
            k.ledger_packets(direction, Verdict::Allow, reason),
            1,
            "{reason:?}"
        );
        k.isolate();
        assert_eq!(
            k.send(direction, frame),
            Action::Drop,
            "{reason:?} on an isolated endpoint"
        );
        let refusals = k.refusals();
        assert_eq!(
            (refusals.len(), refusals[0].0, refusals[0].3),
            (1, reason, 1)
        );
        assert_eq!(k.denial_events().len(), 1);
    }
}

#[test]
fn ipv4_options_hide_no_ports() {
    with_kernel(|k| {
        k.isolate();
        k.peer("10.1.0.1", 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_TCP, 80, 80, 70)]);
        let plain = tcp("10.1.0.1:1", "10.0.0.5:80", "S");
        for words in 1..=10 {
            assert_eq!(
                k.sent_to_pod(&with_options(&plain, &vec![1; words * 4])),
                Action::Next
            );
        }
        assert_eq!(
            k.flow("10.0.0.5:80", "10.1.0.1:1", IPPROTO_TCP)
                .unwrap()
                .ingress
                .packets,
            10
        );
        let refused = tcp("10.1.0.1:1", "10.0.0.5:81", "S");
        assert_eq!(
            k.sent_to_pod(&with_options(&refused, &[1; 40])),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 81, 1)]
        );
    });
}

#[test]
fn ipv6_extension_headers_hide_no_ports() {
    with_kernel(|k| {
        k.isolate();
        k.peer("fd01::1", 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_TCP, 80, 80, 70)]);
        let plain = tcp("[fd01::1]:1", "[fd00::5]:80", "S");
        let refused = tcp("[fd01::1]:1", "[fd00::5]:81", "S");
        let kinds = [0, 43, 60, 51, 135, 139, 140, 60];
        for count in 1..=kinds.len() {
            let extensions: Vec<(u8, Vec<u8>)> = kinds[..count]
                .iter()
                // An authentication header counts in words of four bytes, less two.
                .map(|kind| {
                    (
                        *kind,
                        if *kind == 51 {
                            vec![0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
                        } else {
                            vec![0; 8]
                        },
                    )
                })
                .collect();
            assert_eq!(
                k.sent_to_pod(&with_extensions(&plain, &extensions)),
                Action::Next,
                "{count} headers"
            );
            assert_eq!(
                k.sent_to_pod(&with_extensions(&refused, &extensions)),
                Action::Drop,
                "{count} headers"
            );
        }
        assert_eq!(
            k.flow("[fd00::5]:80", "[fd01::1]:1", IPPROTO_TCP)
                .unwrap()
                .ingress
                .packets,
            8
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 81, 8)]
        );
    });
}

#[test]
fn too_many_extension_headers_are_refused() {
    with_kernel(|k| {
        let plain = tcp("[fd01::1]:1", "[fd00::5]:80", "S");
        let nine = vec![(60, vec![0; 8]); 9];
        is_refused_as(k, &with_extensions(&plain, &nine), Reason::ExtensionHeaders);
        let long = vec![(60, [vec![0, 255], vec![0; 2046]].concat())];
        is_refused_as(k, &with_extensions(&plain, &long), Reason::ExtensionHeaders);
        let twice = vec![(44, vec![0; 8]), (44, vec![0; 8])];
        is_refused_as(
            k,
            &with_extensions(&plain, &twice),
            Reason::ExtensionHeaders,
        );
    });
}

#[test]
fn cut_off_headers_are_refused() {
    with_kernel(|k| {
        for side in SIDES {
            let whole = tcp(&side.peer(1), &side.pod(80), "S");
            let payload = whole.transport();
            // The length field says so, the frame is long enough: what is beyond it does not count.
            let short = whole.clone().with(|bytes| {
                let (at, length) = if payload == 34 {
                    (16, 20 + 12_u16)
                } else {
                    (18, 12_u16)
                };
                bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
            });
            is_refused_as(k, &short, Reason::ShortHeader);
            let cut = whole.clone().with(|bytes| {
                bytes.truncate(payload + 8);
                let (at, length) = if payload == 34 {
                    (16, 20 + 8_u16)
                } else {
                    (18, 8_u16)
                };
                bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
            });
            is_refused_as(k, &cut, Reason::ShortHeader);
        }
        // An extension header that promises more than there is.
        let lying = with_extensions(
            &tcp("[fd01::1]:1", "[fd00::5]:80", "S"),
            &[(60, vec![0, 20, 0, 0, 0, 0, 0, 0])],
        );
        is_refused_as(k, &lying, Reason::ShortHeader);
    });
}

#[test]
fn malformed_headers_are_refused() {
    with_kernel(|k| {
        let v4 = tcp("10.1.0.1:1", "10.0.0.5:80", "S");
        let version = v4.clone().with(|bytes| bytes[14] = 0x65);
        is_refused_as(k, &version, Reason::MalformedHeader);
        let header_length = v4.clone().with(|bytes| bytes[14] = 0x44);
        is_refused_as(k, &header_length, Reason::MalformedHeader);
        let longer_than_frame = v4.clone().with(|bytes| bytes[16] = 0x10);
        is_refused_as(k, &longer_than_frame, Reason::MalformedHeader);
        let shorter_than_header = v4.with(|bytes| bytes[17] = 10);
        is_refused_as(k, &shorter_than_header, Reason::MalformedHeader);
        let v6 = tcp("[fd01::1]:1", "[fd00::5]:80", "S");
        is_refused_as(
            k,
            &v6.clone().with(|bytes| bytes[14] = 0x45),
            Reason::MalformedHeader,
        );
        is_refused_as(
            k,
            &v6.with(|bytes| bytes[18] = 0x10),
            Reason::MalformedHeader,
        );
    });
}

#[test]
fn unknown_ethertypes_and_vlan_tags_are_refused_and_named() {
    with_kernel(|k| {
        is_refused_as(k, &ethernet(0x8847), Reason::UnknownEthertype);
        is_refused_as(k, &ethernet(0x88a8), Reason::Vlan);
        k.reset();
        k.isolate();
        k.sent_to_pod(&ethernet(0x8847));
        let event = k.denial_events()[0];
        assert_eq!((event.family, event.ethertype), (0, 0x8847));
        assert_eq!(k.denials4()[0].0.ethertype, 0x8847);
    });
}

#[test]
fn the_length_fields_of_an_established_flow_are_checked_too() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let whole = udp(&side.peer(1), &side.pod(53));
        assert_eq!(k.sent_to_pod(&whole), Action::Next);
        let length_at = if side.family == 4 { 16 } else { 18 };
        let lying = whole.with(|bytes| bytes[length_at] = 0x20);
        assert_eq!(k.sent_to_pod(&lying), Action::Drop);
        assert_eq!(k.refusals()[0].0, Reason::MalformedHeader);
    });
}
