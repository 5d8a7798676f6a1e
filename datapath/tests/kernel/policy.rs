//! Verdicts from the compiled policy tables, in the order that the design gives.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

const TCP: u8 = IPPROTO_TCP;

#[test]
fn a_rule_allows_its_peer_at_its_port_only() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(TCP, 80, 80, 70)]);
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(1), &side.pod(80), "S")),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(1), &side.pod(81), "S")),
            Action::Drop
        );
        assert_eq!(
            k.sent_to_pod(&udp(&side.peer(1), &side.pod(80))),
            Action::Drop
        );
        assert_eq!(
            k.sent_to_pod(&tcp(&side.at(side.world, 1), &side.pod(80), "S")),
            Action::Drop
        );
        let flow = k.flow(&side.pod(80), &side.peer(1), TCP).unwrap();
        assert_eq!((flow.rule, flow.set, flow.identity), (70, INGRESS, 100));
        assert_eq!(flow.reason, Reason::Policy as u32);
    });
}

#[test]
fn directions_are_isolated_independently() {
    with_each_family(|k, side| {
        k.set_sets(INGRESS, set::OPEN);
        assert_eq!(
            k.sent_to_pod(&udp(&side.peer(1), &side.pod(2))),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(3), &side.peer(4))),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&udp(&side.peer(4), &side.pod(3))),
            Action::Next,
            "a reply"
        );
    });
}

#[test]
fn every_range_of_a_long_port_table_is_found_and_no_gap_is() {
    with_kernel(|k| {
        k.isolate();
        k.peer("10.1.0.1", 100, 0);
        let ranges: Vec<_> = (0..100_u16)
            .map(|i| (TCP, 10 + i * 20, 14 + i * 20, 70 + u32::from(i)))
            .collect();
        k.allow(INGRESS, 100, &ranges);
        for i in 0..100_u16 {
            let at = |port: u16| tcp("10.1.0.1:7", &format!("10.0.0.5:{port}"), "S");
            for port in [10, 12, 14] {
                assert_eq!(k.sent_to_pod(&at(port + i * 20)), Action::Next);
                let flow = k
                    .flow(&format!("10.0.0.5:{}", port + i * 20), "10.1.0.1:7", TCP)
                    .unwrap();
                assert_eq!(flow.rule, 70 + u32::from(i));
            }
            for port in [9, 15] {
                assert_eq!(k.sent_to_pod(&at(port + i * 20)), Action::Drop);
            }
        }
    });
}

#[test]
fn protocols_without_ports_pass_only_by_a_rule_without_ports() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(
            INGRESS,
            100,
            &[(TCP, 0, 65535, 70), (IPPROTO_UDP, 0, 65535, 70)],
        );
        assert_eq!(
            k.sent_to_pod(&other(side.peer, side.pod, 47, &[0; 8])),
            Action::Drop
        );
        k.allow(
            INGRESS,
            100,
            &[(PROTOCOL_OTHER, 0, 0, 71), (TCP, 0, 65535, 70)],
        );
        k.bump_epoch();
        assert_eq!(
            k.sent_to_pod(&other(side.peer, side.pod, 47, &[0; 8])),
            Action::Next
        );
        assert_eq!(k.flow(&side.pod(0), &side.peer(0), 47).unwrap().rule, 71);
    });
}

#[test]
fn an_exact_address_goes_before_the_network_and_the_network_before_the_world() {
    with_each_family(|k, side| {
        k.isolate();
        k.network(side.network.0, side.network.1, 200);
        k.allow_all(EGRESS, 200, 72);
        k.allow_all(EGRESS, identity::WORLD, 73);
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(1), &side.peer(2))),
            Action::Next
        );
        assert_eq!(
            k.flow(&side.pod(1), &side.peer(2), IPPROTO_UDP)
                .unwrap()
                .rule,
            72
        );
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(1), &side.at(side.world, 2))),
            Action::Next
        );
        assert_eq!(
            k.flow(&side.pod(1), &side.at(side.world, 2), IPPROTO_UDP)
                .unwrap()
                .rule,
            73
        );
        k.peer(side.peer, 100, 0);
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(1), &side.peer(3))),
            Action::Drop
        );
    });
}

#[test]
fn a_service_front_end_goes_before_the_peer_and_by_its_port() {
    with_each_family(|k, side| {
        k.isolate();
        k.frontend(side.service, TCP, 443, 300);
        k.allow(EGRESS, 300, &[(TCP, 443, 443, 74)]);
        let service = side.at(side.service, 443);
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(1), &service, "S")),
            Action::Next
        );
        let flow = k.flow(&side.pod(1), &service, TCP).unwrap();
        assert_eq!((flow.rule, flow.identity), (74, 300));
        assert_eq!(flow.state & flow_state::SERVICE, flow_state::SERVICE);
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(1), &side.at(side.service, 444), "S")),
            Action::Drop
        );
        assert_eq!(k.sent_by_pod(&udp(&side.pod(1), &service)), Action::Drop);
    });
}

#[test]
fn services_without_backends_or_with_mixed_ones_are_refused_with_that_reason() {
    with_each_family(|k, side| {
        k.isolate();
        k.frontend(side.service, TCP, 1, 300);
        k.frontend(side.service, TCP, 2, 301);
        k.allow(EGRESS, 300, &[(TCP, 0, 65535, rule::NO_BACKENDS)]);
        k.allow_all(EGRESS, 301, rule::MIXED_BACKENDS);
        for port in [1, 2] {
            assert_eq!(
                k.sent_by_pod(&tcp(&side.pod(9), &side.at(side.service, port), "S")),
                Action::Drop
            );
        }
        let refused = [
            (Reason::NoBackends, Direction::Egress, 1, 1),
            (Reason::MixedBackends, Direction::Egress, 2, 1),
        ];
        assert_eq!(k.refusals(), refused);
        let rules: Vec<u32> = k.denial_events().iter().map(|event| event.rule).collect();
        assert_eq!(rules, [rule::NO_BACKENDS, rule::MIXED_BACKENDS]);
    });
}

#[test]
fn a_pod_to_itself_passes() {
    with_each_family(|k, side| {
        k.isolate();
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(1), &side.pod(80), "S")),
            Action::Next
        );
        assert_eq!(
            k.flow(&side.pod(1), &side.pod(80), TCP).unwrap().rule,
            rule::SELF
        );
    });
}

#[test]
fn a_hairpin_through_the_pods_own_service_is_the_pod_itself() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        let frame = tcp(&side.at(side.node, 1), &side.pod(80), "S");
        let hairpin = Context {
            ifindex: IFINDEX,
            from: IFINDEX,
            ..Context::default()
        };
        assert_eq!(k.run(Direction::Ingress, &frame, hairpin, 1), Action::Next);
        let flow = k.flow(&side.pod(80), &side.at(side.node, 1), TCP).unwrap();
        assert_eq!(flow.reason, Reason::SelfTraffic as u32);
        // It stays so when its policy changes.
        k.bump_epoch();
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(80), &side.at(side.node, 1), "SA")),
            Action::Next
        );
    });
}

#[test]
fn the_own_node_always_reaches_the_pod_and_a_forwarded_packet_with_its_address_does_not() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        let probe = |port| tcp(&side.at(side.node, port), &side.pod(8080), "S");
        assert_eq!(k.sent_by_node(&probe(1)), Action::Next);
        let flow = k
            .flow(&side.pod(8080), &side.at(side.node, 1), TCP)
            .unwrap();
        assert_eq!(
            (flow.rule, flow.reason),
            (rule::OWN_NODE, Reason::OwnNode as u32)
        );
        assert_eq!(
            k.sent_to_pod(&probe(2)),
            Action::Drop,
            "spoofed from outside"
        );
        assert_eq!(k.denial_events()[0].state, flow_state::SOURCE_NAT_SUSPECTED);
        k.allow_all(INGRESS, 50, 70);
        k.bump_epoch();
        assert_eq!(
            k.sent_to_pod(&probe(2)),
            Action::Next,
            "an ordinary address, allowed like one"
        );
        let flow = k
            .flow(&side.pod(8080), &side.at(side.node, 2), TCP)
            .unwrap();
        assert_eq!(
            flow.state & flow_state::SOURCE_NAT_SUSPECTED,
            flow_state::SOURCE_NAT_SUSPECTED
        );
    });
}

#[test]
fn a_refused_packet_with_the_own_nodes_address_does_not_stand_in_the_nodes_way() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        let probe = |port| tcp(&side.at(side.node, port), &side.pod(8080), "S");
        assert_eq!(k.sent_to_pod(&probe(1)), Action::Drop, "from outside");
        assert_eq!(k.sent_by_node(&probe(2)), Action::Next);
        assert_eq!(k.sent_to_pod(&probe(3)), Action::Drop, "from outside again");
        let hairpin = Context {
            ifindex: IFINDEX,
            from: IFINDEX,
            ..Context::default()
        };
        let from_itself = k.run(Direction::Ingress, &probe(4), hairpin, 1);
        assert_eq!(from_itself, Action::Next, "through its own Service");
    });
}

#[test]
fn a_local_socket_with_a_foreign_address_is_no_own_node() {
    with_each_family(|k, side| {
        k.isolate();
        assert_eq!(
            k.sent_by_node(&tcp(&side.peer(1), &side.pod(80), "S")),
            Action::Drop
        );
    });
}

#[test]
fn the_pod_reaches_its_own_node_but_not_a_front_end_there() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        k.frontend(side.node, TCP, 30080, 300);
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(1), &side.at(side.node, 10250), "S")),
            Action::Next
        );
        assert_eq!(
            k.flow(&side.pod(1), &side.at(side.node, 10250), TCP)
                .unwrap()
                .rule,
            rule::OWN_NODE
        );
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(1), &side.at(side.node, 30080), "S")),
            Action::Drop
        );
    });
}

#[test]
fn other_nodes_are_ordinary_addresses() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.node, 51, peer_flag::NODE);
        assert_eq!(
            k.sent_by_node(&tcp(&side.at(side.node, 1), &side.pod(80), "S")),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(1), &side.at(side.node, 80), "S")),
            Action::Drop
        );
    });
}

#[test]
fn pending_endpoints_follow_their_posture() {
    with_each_family(|k, side| {
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        k.set_sets(set::PENDING_DENY, set::PENDING_ALLOW);
        assert_eq!(
            k.sent_to_pod(&udp(&side.peer(1), &side.pod(2))),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(3), &side.peer(4))),
            Action::Next
        );
        assert_eq!(k.refusals(), [(Reason::Pending, Direction::Ingress, 2, 1)]);
        let flow = k.flow(&side.pod(3), &side.peer(4), IPPROTO_UDP).unwrap();
        assert_eq!(
            (flow.reason, flow.rule),
            (Reason::Pending as u32, rule::PENDING)
        );
        // The API exempts the own node whatever the policies say, known or not.
        assert_eq!(
            k.sent_by_node(&udp(&side.at(side.node, 1), &side.pod(2))),
            Action::Next
        );
    });
}

#[test]
fn a_sidecar_judges_the_own_node_by_address() {
    with_each_family(|k, side| {
        k.change_endpoint(|endpoint| endpoint.flags |= endpoint_flag::SIDECAR);
        k.isolate();
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        assert_eq!(
            k.sent_to_pod(&tcp(&side.at(side.node, 1), &side.pod(80), "S")),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(1), &side.pod(80), "S")),
            Action::Drop
        );
        let local = Context {
            ifindex: IFINDEX,
            from: 0,
            ..Context::default()
        };
        let frame = tcp(&side.peer(2), &side.pod(80), "S");
        assert_eq!(k.run(Direction::Ingress, &frame, local, 1), Action::Drop);
    });
}
