//! Flow entries: made once, counted exactly, bounded.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

#[test]
fn a_connection_on_an_open_endpoint_is_one_flow_with_exact_counts() {
    with_each_family(|k, side| {
        let (server, client) = (side.pod(80), side.peer(40000));
        let bytes = tcp(&client, &server, "S").bytes().len() as u64;
        assert_eq!(k.sent_to_pod(&tcp(&client, &server, "S")), Action::Next);
        assert_eq!(k.usage(), (1, 0));
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "SA")), Action::Next);
        for _ in 0..3 {
            assert_eq!(k.sent_to_pod(&tcp(&client, &server, "A")), Action::Next);
        }
        let flow = k.flow(&server, &client, IPPROTO_TCP).unwrap();
        assert_eq!(
            flow.ingress,
            Tally {
                packets: 4,
                bytes: 4 * bytes
            }
        );
        assert_eq!(flow.egress, Tally { packets: 1, bytes });
        assert_eq!(
            (flow.rule, flow.reason),
            (rule::NOT_ISOLATED, Reason::NotIsolated as u32)
        );
        assert_eq!(
            flow.state,
            flow_state::OPENED_BY_REMOTE | flow_state::ESTABLISHED
        );
        assert_eq!(flow.tcp_flags, 0x12 | 0x12 << 16);
        assert_eq!(k.usage(), (0, 1));

        let events = k.flow_events();
        assert_eq!(events.len(), 1);
        let event = events[0];
        assert_eq!(
            (event.kind, event.serial),
            (EventKind::Started as u8, flow.serial)
        );
        assert_eq!((event.family, event.protocol), (side.family, IPPROTO_TCP));
        assert_eq!((event.local_port, event.remote_port), (80, 40000));
        assert_eq!((event.endpoint, event.epoch), (ENDPOINT, k.epoch()));
        assert_eq!(event.ingress, Tally { packets: 1, bytes });
        assert_eq!(event.time_ns, flow.first_seen_ns);
    });
}

#[test]
fn udp_becomes_established_by_an_answer_only() {
    with_each_family(|k, side| {
        let (client, server) = (side.pod(5353), side.peer(53));
        for _ in 0..5 {
            assert_eq!(k.sent_by_pod(&udp(&client, &server)), Action::Next);
        }
        assert_eq!(k.flow(&client, &server, IPPROTO_UDP).unwrap().state, 0);
        assert_eq!(k.usage(), (1, 0));
        assert_eq!(k.sent_to_pod(&udp(&server, &client)), Action::Next);
        assert_eq!(
            k.flow(&client, &server, IPPROTO_UDP).unwrap().state,
            flow_state::ESTABLISHED
        );
        assert_eq!(k.usage(), (0, 1));
    });
}

#[test]
fn sctp_and_unknown_protocols_are_flows() {
    with_each_family(|k, side| {
        let ports = [0x04, 0xd2, 0x0b, 0x5c, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            k.sent_by_pod(&other(side.pod, side.peer, IPPROTO_SCTP, &ports)),
            Action::Next
        );
        assert!(
            k.flow(&side.pod(1234), &side.peer(2908), IPPROTO_SCTP)
                .is_some()
        );
        assert_eq!(
            k.sent_by_pod(&other(side.pod, side.peer, 47, &[0; 8])),
            Action::Next
        );
        assert!(k.flow(&side.pod(0), &side.peer(0), 47).is_some());
    });
}

#[test]
fn wire_segments_of_a_gso_packet_are_counted_apart() {
    with_each_family(|k, side| {
        let (client, server) = (side.pod(1), side.peer(2));
        let frame = udp(&client, &server);
        let gso = Context {
            ifindex: IFINDEX,
            from: IFINDEX,
            gso: (7, 4),
        };
        k.run(Direction::Egress, &frame, gso, 1);
        k.run(Direction::Egress, &frame, gso, 1);
        let flow = k.flow(&client, &server, IPPROTO_UDP).unwrap();
        assert_eq!((flow.egress.packets, flow.egress_extra_segments), (2, 12));
    });
}

#[test]
fn serials_differ_and_grow() {
    with_kernel(|k| {
        for port in 1..20 {
            k.sent_by_pod(&udp("10.0.0.5:9", &format!("10.1.0.1:{port}")));
        }
        let mut serials: Vec<u64> = k.flow_events().iter().map(|event| event.serial).collect();
        assert_eq!(serials.len(), 19);
        serials.sort_unstable();
        serials.dedup();
        assert_eq!(serials.len(), 19);
    });
}

#[test]
fn a_full_ring_delays_the_news_and_loses_no_count() {
    with_kernel(|k| {
        // 256 KiB of 152-byte records; the tables hold 4096.
        k.change_endpoint(|endpoint| endpoint.nascent_quota = 10_000);
        for port in 1..=3000 {
            assert_eq!(
                k.sent_by_pod(&udp("10.0.0.5:9", &format!("10.1.0.1:{port}"))),
                Action::Next
            );
        }
        let rang = k.flow_events().len() as u64;
        assert!(rang < 3000);
        assert_eq!(rang + k.counter(Counter::FlowRingFull), 3000);
        assert_eq!(k.flows().len(), 3000);
    });
}

#[test]
fn nascent_flows_beyond_the_quota_are_refused_only_where_isolated() {
    with_each_family(|k, side| {
        k.change_endpoint(|endpoint| endpoint.nascent_quota = 2);
        k.peer(side.peer, 100, 0);
        k.set_sets(set::OPEN, EGRESS);
        k.allow_all(EGRESS, 100, 70);
        for port in [1, 2] {
            assert_eq!(
                k.sent_by_pod(&udp(&side.pod(9), &side.peer(port))),
                Action::Next
            );
        }
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(9), &side.peer(3))),
            Action::Drop
        );
        assert_eq!(k.refusals(), [(Reason::TableFull, Direction::Egress, 3, 1)]);
        assert_eq!(
            k.sent_to_pod(&udp(&side.peer(4), &side.pod(9))),
            Action::Next
        );
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Allow, Reason::TableFull),
            1
        );
        // An established flow makes room.
        assert_eq!(
            k.sent_to_pod(&udp(&side.peer(1), &side.pod(9))),
            Action::Next
        );
        assert_eq!(k.usage(), (1, 1));
        assert_eq!(
            k.sent_by_pod(&udp(&side.pod(9), &side.peer(3))),
            Action::Next
        );
    });
}

#[test]
fn a_flow_stays_nascent_while_the_quota_of_established_ones_is_used_up() {
    with_each_family(|k, side| {
        k.change_endpoint(|endpoint| endpoint.flow_quota = 1);
        for port in [1, 2] {
            k.sent_by_pod(&udp(&side.pod(9), &side.peer(port)));
            assert_eq!(
                k.sent_to_pod(&udp(&side.peer(port), &side.pod(9))),
                Action::Next
            );
        }
        assert_eq!(k.usage(), (1, 1));
        assert_eq!(
            k.flow(&side.pod(9), &side.peer(2), IPPROTO_UDP)
                .unwrap()
                .state,
            0
        );
    });
}

#[test]
fn a_full_table_is_table_full() {
    with_kernel(|k| {
        k.change_endpoint(|endpoint| endpoint.nascent_quota = 10_000);
        k.set_sets(INGRESS, set::OPEN);
        k.allow_all(INGRESS, identity::WORLD, 70);
        for port in 1..=4200 {
            k.sent_by_pod(&udp("10.0.0.5:9", &format!("10.1.0.1:{port}")));
        }
        let passed = k.ledger_packets(Direction::Egress, Verdict::Allow, Reason::TableFull);
        assert_eq!(k.flows().len() as u64 + passed, 4200);
        assert!(passed > 0);
        assert_eq!(
            k.sent_to_pod(&udp("10.1.0.9:1", "10.0.0.5:1")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::TableFull, Direction::Ingress, 1, 1)]
        );
    });
}

#[test]
fn an_interface_without_endpoint_passes_and_is_counted() {
    with_kernel(|k| {
        k.change_endpoint(|endpoint| endpoint.ifindex = 0);
        let before = k.counter(Counter::NoEndpoint);
        let frame = udp("10.0.0.5:9", "10.1.0.1:1");
        assert_eq!(k.run_unaccounted(Direction::Egress, &frame), Action::Next);
        assert_eq!(k.counter(Counter::NoEndpoint), before + 1);
        assert!(k.flows().is_empty());
    });
}

#[test]
fn an_endpoint_is_found_a_few_slots_further() {
    with_kernel(|k| {
        k.move_endpoint(SLOT + 3);
        k.sent_by_pod(&udp("10.0.0.5:9", "10.1.0.1:1"));
        assert_eq!(k.flows().len(), 1);
    });
}

#[test]
fn counts_are_exact_over_many_packets() {
    with_each_family(|k, side| {
        let frame = tcp(&side.pod(1), &side.peer(2), "S");
        k.sent_by_pod(&frame);
        k.sent_to_pod(&tcp(&side.peer(2), &side.pod(1), "SA"));
        let data = tcp(&side.pod(1), &side.peer(2), "PA");
        let context = Context {
            ifindex: IFINDEX,
            from: IFINDEX,
            ..Context::default()
        };
        k.run(Direction::Egress, &data, context, 10_000);
        let flow = k.flow(&side.pod(1), &side.peer(2), IPPROTO_TCP).unwrap();
        assert_eq!(flow.egress.packets, 10_001);
        assert_eq!(flow.tcp_flags, (0x02 | 0x18) | 0x12 << 16);
    });
}
