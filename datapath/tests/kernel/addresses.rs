//! Addresses that are not the pod's.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

#[test]
fn a_spoofed_source_is_refused_isolated_or_not() {
    with_each_family(|k, side| {
        assert_eq!(
            k.sent_by_pod(&tcp(&side.peer(1), &side.at(side.world, 80), "S")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::SpoofedSource, Direction::Egress, 80, 1)]
        );
        k.isolate();
        k.allow_all(EGRESS, identity::WORLD, 70);
        k.bump_epoch();
        assert_eq!(
            k.sent_by_pod(&tcp(&side.peer(1), &side.at(side.world, 80), "S")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::SpoofedSource, Direction::Egress, 80, 2)]
        );
    });
}

#[test]
fn a_spoofed_reply_reaches_no_flow() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        k.sent_by_pod(&udp(&side.pod(1), &side.peer(53)));
        // As if the server answered, but out of the pod's own interface.
        assert_eq!(
            k.sent_by_pod(&udp(&side.peer(53), &side.pod(1))),
            Action::Drop
        );
        assert_eq!(
            k.flow(&side.pod(1), &side.peer(53), IPPROTO_UDP)
                .unwrap()
                .state,
            0
        );
    });
}

#[test]
fn sources_are_not_checked_while_the_pods_addresses_are_unknown() {
    with_each_family(|k, side| {
        k.change_endpoint(|endpoint| endpoint.flags = 0);
        assert_eq!(
            k.sent_by_pod(&udp(&side.peer(1), &side.at(side.world, 2))),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&udp(&side.at(side.world, 2), &side.peer(1))),
            Action::Next
        );
    });
}

#[test]
fn further_sources_are_the_pods_own() {
    with_each_family(|k, side| {
        let frame = udp(&side.peer(1), &side.at(side.world, 2));
        k.further_source(side.peer);
        assert_eq!(
            k.sent_by_pod(&frame),
            Action::Drop,
            "the flag says whether to look"
        );
        k.change_endpoint(|endpoint| endpoint.flags |= endpoint_flag::MORE_SOURCES);
        assert_eq!(k.sent_by_pod(&frame), Action::Next);
        assert_eq!(
            k.sent_by_pod(&udp(&side.at(side.node, 1), &side.at(side.world, 2))),
            Action::Drop
        );
    });
}

#[test]
fn link_local_and_unspecified_sources() {
    with_kernel(|k| {
        assert_eq!(
            k.sent_by_pod(&udp("[fe80::77]:1", "[ff02::fb]:5353")),
            Action::Next
        );
        assert_eq!(
            k.sent_by_pod(&udp("0.0.0.0:68", "255.255.255.255:67")),
            Action::Next
        );
        assert_eq!(
            k.sent_by_pod(&udp("0.0.0.0:68", "255.255.255.255:68")),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&tcp("0.0.0.0:68", "10.1.0.1:67", "S")),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&udp("169.254.7.7:1", "10.1.0.1:2")),
            Action::Drop
        );
    });
}

#[test]
fn unicast_for_somebody_else_makes_no_record() {
    with_each_family(|k, side| {
        let flooded = udp(&side.peer(1), &side.at(side.world, 2));
        assert_eq!(k.sent_to_pod(&flooded), Action::Next);
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Allow, Reason::NotForEndpoint),
            1
        );
        k.isolate();
        assert_eq!(k.sent_to_pod(&flooded), Action::Drop);
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Deny, Reason::NotForEndpoint),
            1
        );
        assert!(k.flows().is_empty() && k.refusals().is_empty());
        assert!(k.flow_events().is_empty() && k.denial_events().is_empty());
    });
}

#[test]
fn multicast_and_broadcast_are_for_everybody() {
    with_kernel(|k| {
        assert_eq!(
            k.sent_to_pod(&udp("10.1.0.1:5353", "224.0.0.251:5353")),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&udp("10.1.0.1:1", "255.255.255.255:2")),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&udp("[fd01::1]:5353", "[ff02::fb]:5353")),
            Action::Next
        );
        let subnet = udp("10.1.0.1:1", "10.0.0.255:2").with(|bytes| bytes[..6].fill(0xff));
        assert_eq!(k.sent_to_pod(&subnet), Action::Next);
        assert_eq!(k.flows().len(), 4);
        k.isolate();
        k.bump_epoch();
        assert_eq!(
            k.sent_to_pod(&udp("10.1.0.2:5353", "224.0.0.251:5353")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 5353, 1)]
        );
    });
}

#[test]
fn arp_passes_and_the_pod_speaks_for_itself_only() {
    with_kernel(|k| {
        k.isolate();
        assert_eq!(k.sent_by_pod(&arp("10.0.0.5")), Action::Next);
        assert_eq!(k.sent_by_pod(&arp("0.0.0.0")), Action::Next);
        assert_eq!(k.sent_to_pod(&arp("10.0.0.1")), Action::Next);
        assert_eq!(
            k.ledger_packets(Direction::Egress, Verdict::Allow, Reason::Arp),
            2
        );
        k.set_sets(set::OPEN, set::OPEN);
        assert_eq!(k.sent_by_pod(&arp("10.0.0.1")), Action::Drop);
        assert_eq!(
            k.refusals(),
            [(Reason::SpoofedNeighbour, Direction::Egress, 0, 1)]
        );
        let (key, _) = k.denials4()[0];
        assert_eq!((key.local, key.ethertype), (ipv4("10.0.0.1"), 0x0806));
    });
}
