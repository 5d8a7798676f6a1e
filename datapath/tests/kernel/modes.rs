//! Audit and observe modes drop nothing, whatever the reason.

use weir_datapath::abi::flow_state::*;
use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

fn set_mode(k: &mut Kernel, flag: u32) {
    k.change_endpoint(|endpoint| endpoint.flags |= flag);
    k.bump_epoch();
}

/// Frames that an enforcing, isolated endpoint refuses, each for another reason.
fn refused_frames(side: &Side) -> Vec<(Direction, Frame)> {
    vec![
        (Direction::Ingress, tcp(&side.peer(1), &side.pod(80), "S")),
        (Direction::Ingress, tcp(&side.peer(1), &side.pod(81), "SA")),
        (Direction::Ingress, tcp(&side.peer(1), &side.pod(82), "A")),
        (Direction::Egress, udp(&side.pod(1), &side.peer(53))),
        (
            Direction::Egress,
            udp(&side.peer(1), &side.at(side.world, 53)),
        ),
        (
            Direction::Ingress,
            udp(&side.peer(1), &side.at(side.world, 53)),
        ),
        (
            Direction::Ingress,
            tcp(&side.peer(1), &side.pod(83), "S").with(|b| b[14] ^= 0x30),
        ),
        (
            Direction::Ingress,
            fragments(&tcp(&side.peer(1), &side.pod(84), "S"), 7, &[24])[1].clone(),
        ),
        (
            Direction::Egress,
            fragments(&tcp(&side.pod(1), &side.peer(84), "S"), 8, &[8])[0].clone(),
        ),
        (Direction::Ingress, ethernet(0x8847)),
        (Direction::Egress, ethernet(0x8100)),
        (Direction::Egress, arp("10.9.9.9")),
    ]
}

#[test]
fn an_enforcing_endpoint_drops_all_of_them() {
    with_each_family(|k, side| {
        k.isolate();
        for (direction, frame) in refused_frames(side) {
            assert_eq!(
                k.send(direction, &frame),
                Action::Drop,
                "{direction:?} {frame:?}"
            );
        }
    });
}

#[test]
fn audit_mode_drops_nothing_and_says_what_it_would_have_dropped() {
    with_each_family(|k, side| {
        set_mode(k, endpoint_flag::AUDIT);
        k.isolate();
        for (direction, frame) in refused_frames(side) {
            assert_eq!(
                k.send(direction, &frame),
                Action::Next,
                "{direction:?} {frame:?}"
            );
        }
        assert!(k.refusals().is_empty());
        let flow = k.flow(&side.pod(80), &side.peer(1), IPPROTO_TCP).unwrap();
        assert_eq!(
            (flow.state, flow.rule),
            (AUDIT | OPENED_BY_REMOTE, rule::DEFAULT_DENY)
        );
        assert_eq!((flow.ingress.packets, flow.ingress_dropped.packets), (1, 0));
        let events = k.denial_events();
        assert_eq!(
            (events[0].kind, events[0].verdict),
            (EventKind::Started as u8, Verdict::Audit as u8)
        );
        for (direction, reason) in [
            (Direction::Ingress, Reason::NotSyn),
            (Direction::Egress, Reason::SpoofedSource),
            (Direction::Ingress, Reason::NotForEndpoint),
            (Direction::Ingress, Reason::MalformedHeader),
            (Direction::Ingress, Reason::FragNoFirst),
            (Direction::Egress, Reason::FragTooShort),
            (Direction::Ingress, Reason::UnknownEthertype),
            (Direction::Egress, Reason::Vlan),
            (Direction::Egress, Reason::SpoofedNeighbour),
        ] {
            assert_eq!(
                k.ledger_packets(direction, Verdict::Audit, reason),
                1,
                "{reason:?}"
            );
        }
    });
}

#[test]
fn observe_mode_drops_nothing_and_judges_nothing() {
    with_each_family(|k, side| {
        set_mode(k, endpoint_flag::OBSERVE);
        k.isolate();
        for (direction, frame) in refused_frames(side) {
            assert_eq!(
                k.send(direction, &frame),
                Action::Next,
                "{direction:?} {frame:?}"
            );
        }
        assert!(k.refusals().is_empty() && k.denial_events().is_empty());
        let flow = k.flow(&side.pod(80), &side.peer(1), IPPROTO_TCP).unwrap();
        assert_eq!(
            (flow.state, flow.reason),
            (OPENED_BY_REMOTE, Reason::Observed as u32)
        );
        assert!(
            k.ledger()
                .keys()
                .all(|(_, verdict, _)| *verdict == Verdict::Allow)
        );
    });
}

#[test]
fn an_audited_flow_is_cut_when_the_endpoint_begins_to_enforce() {
    with_each_family(|k, side| {
        set_mode(k, endpoint_flag::AUDIT);
        k.isolate();
        let frame = udp(&side.pod(1), &side.peer(53));
        assert_eq!(k.sent_by_pod(&frame), Action::Next);
        assert_eq!(k.sent_by_pod(&frame), Action::Next);
        k.change_endpoint(|endpoint| endpoint.flags &= !endpoint_flag::AUDIT);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&frame), Action::Drop);
        let flow = k.flow(&side.pod(1), &side.peer(53), IPPROTO_UDP).unwrap();
        assert_eq!(
            (flow.state, flow.egress.packets, flow.egress_dropped.packets),
            (DENIED, 2, 1)
        );
    });
}

#[test]
fn a_cut_flow_passes_as_soon_as_the_endpoint_only_audits() {
    with_each_family(|k, side| {
        let frame = udp(&side.pod(1), &side.peer(53));
        k.sent_by_pod(&frame);
        k.isolate();
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&frame), Action::Drop);
        // Even before the epoch says so.
        k.change_endpoint(|endpoint| endpoint.flags |= endpoint_flag::AUDIT);
        assert_eq!(k.sent_by_pod(&frame), Action::Next);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&frame), Action::Next);
        assert_eq!(
            k.flow(&side.pod(1), &side.peer(53), IPPROTO_UDP)
                .unwrap()
                .state,
            AUDIT
        );
    });
}
