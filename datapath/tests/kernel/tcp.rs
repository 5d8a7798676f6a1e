//! TCP: who opens, what ends, what is used again.

use weir_datapath::abi::flow_state::*;
use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

const TCP: u8 = IPPROTO_TCP;

/// Opens a connection from the peer's port 40000 to the pod's port 80.
fn connect(k: &mut Kernel, side: &Side) -> (String, String) {
    let (server, client) = (side.pod(80), side.peer(40000));
    assert_eq!(k.sent_to_pod(&tcp(&client, &server, "S")), Action::Next);
    assert_eq!(k.sent_by_pod(&tcp(&server, &client, "SA")), Action::Next);
    assert_eq!(k.sent_to_pod(&tcp(&client, &server, "A")), Action::Next);
    (server, client)
}

#[test]
fn both_fins_end_a_connection_and_ring_once() {
    with_each_family(|k, side| {
        let (server, client) = connect(k, side);
        k.flow_events();
        assert_eq!(k.sent_to_pod(&tcp(&client, &server, "FA")), Action::Next);
        assert!(k.flow_events().is_empty());
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "FA")), Action::Next);
        assert_eq!(k.sent_to_pod(&tcp(&client, &server, "A")), Action::Next);
        assert_eq!(
            k.sent_by_pod(&tcp(&server, &client, "FA")),
            Action::Next,
            "sent again"
        );
        let flow = k.flow(&server, &client, TCP).unwrap();
        assert_eq!(
            flow.state & (FIN_EGRESS | FIN_INGRESS),
            FIN_EGRESS | FIN_INGRESS
        );
        let events = k.flow_events();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].kind, events[0].serial),
            (EventKind::Ended as u8, flow.serial)
        );
        assert_eq!(events[0].ingress.packets, 3);
    });
}

#[test]
fn a_reset_ends_a_connection() {
    with_each_family(|k, side| {
        let (server, client) = connect(k, side);
        k.flow_events();
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "R")), Action::Next);
        assert_eq!(k.flow(&server, &client, TCP).unwrap().state & RST, RST);
        assert_eq!(k.flow_events()[0].kind, EventKind::Ended as u8);
    });
}

#[test]
fn a_tuple_used_again_is_a_new_incarnation_in_the_same_entry() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let (server, client) = connect(k, side);
        k.sent_by_pod(&tcp(&server, &client, "R"));
        let old = k.flow(&server, &client, TCP).unwrap();
        k.flow_events();
        let syn = tcp(&client, &server, "S");
        assert_eq!(k.sent_to_pod(&syn), Action::Next);
        let new = k.flow(&server, &client, TCP).unwrap();
        assert_ne!(new.serial, old.serial);
        assert_eq!((new.incarnation, new.state), (1, OPENED_BY_REMOTE));
        assert_eq!(
            (new.base_ingress, new.base_egress),
            (old.ingress, old.egress)
        );
        assert_eq!(new.ingress.packets - new.base_ingress.packets, 1);
        assert_eq!(new.tcp_flags, 0x02 << 16);
        assert_eq!(k.usage(), (1, 0));
        let events = k.flow_events();
        let serials: Vec<_> = events
            .iter()
            .map(|event| (event.kind, event.serial))
            .collect();
        let expected = [
            (EventKind::Replaced as u8, old.serial),
            (EventKind::Started as u8, new.serial),
        ];
        assert_eq!(serials, expected);
        let [last, first] = events[..] else {
            unreachable!()
        };
        assert_eq!((last.ingress, last.egress), (old.ingress, old.egress));
        assert_eq!(
            (last.time_ns, last.rule, last.state),
            (old.first_seen_ns, old.rule, old.state)
        );
        assert_eq!(last.last_seen, old.last_seen);
        assert_eq!(last.tcp_flags, 0x12 << 8 | 0x16);
        assert_eq!((first.ingress.packets, first.egress.packets), (1, 0));
    });
}

#[test]
fn each_incarnation_tells_its_own_counts_only() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let (server, client) = connect(k, side);
        k.sent_by_pod(&tcp(&server, &client, "R"));
        k.forbid(INGRESS, 100);
        k.bump_epoch();
        for _ in 0..3 {
            let late = tcp(&client, &server, "A");
            assert_eq!(k.sent_to_pod(&late), Action::Drop);
        }
        k.allow_all(INGRESS, 100, 70);
        k.bump_epoch();
        for _ in 0..3 {
            k.sent_to_pod(&tcp(&client, &server, "S"));
            k.sent_by_pod(&tcp(&server, &client, "R"));
        }
        let mut events = k.flow_events();
        events.retain(|event| event.kind == EventKind::Replaced as u8);
        let packets = |event: &Event| {
            let [egress, ingress] = event.dropped;
            [event.egress, event.ingress, egress, ingress].map(|tally| tally.packets)
        };
        let counts: Vec<_> = events.iter().map(packets).collect();
        assert_eq!(counts, [[2, 2, 0, 3], [1, 1, 0, 0], [1, 1, 0, 0]]);
    });
}

#[test]
fn with_a_full_ring_the_old_incarnation_goes_on() {
    with_kernel(|k| {
        let side = &SIDES[0];
        let (server, client) = connect(k, side);
        k.sent_by_pod(&tcp(&server, &client, "R"));
        let old = k.flow(&server, &client, TCP).unwrap();
        k.change_endpoint(|endpoint| endpoint.nascent_quota = 10_000);
        for port in 1..=2000 {
            k.sent_by_pod(&udp("10.0.0.5:9", &format!("10.1.0.9:{port}")));
        }
        assert_eq!(k.sent_to_pod(&tcp(&client, &server, "S")), Action::Next);
        let flow = k.flow(&server, &client, TCP).unwrap();
        assert_eq!((flow.serial, flow.incarnation), (old.serial, 0));
        assert_eq!(flow.ingress.packets, old.ingress.packets + 1);
    });
}

#[test]
fn a_syn_sent_again_counts_in_its_flow() {
    with_each_family(|k, side| {
        let syn = tcp(&side.peer(1), &side.pod(80), "S");
        for _ in 0..3 {
            assert_eq!(k.sent_to_pod(&syn), Action::Next);
        }
        assert_eq!(
            k.flow(&side.pod(80), &side.peer(1), TCP)
                .unwrap()
                .ingress
                .packets,
            3
        );
        assert_eq!(k.flow_events().len(), 1);
    });
}

#[test]
fn a_hostile_syn_into_an_established_connection_is_judged_and_leaves_it_alone() {
    with_each_family(|k, side| {
        // The pod may open to the peer; the peer may not open to the pod.
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let (client, server) = (side.pod(40000), side.peer(443));
        k.sent_by_pod(&tcp(&client, &server, "S"));
        k.sent_to_pod(&tcp(&server, &client, "SA"));
        k.sent_by_pod(&tcp(&client, &server, "A"));
        let before = k.flow(&client, &server, TCP).unwrap();
        assert_eq!(k.sent_to_pod(&tcp(&server, &client, "S")), Action::Drop);
        assert_eq!(k.flow(&client, &server, TCP).unwrap(), before);
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 40000, 1)]
        );
        assert_eq!(
            k.sent_to_pod(&tcp(&server, &client, "A")),
            Action::Next,
            "the connection goes on"
        );
    });
}

#[test]
fn a_hostile_syn_into_an_ended_connection_begins_nothing() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let (client, server) = (side.pod(40000), side.peer(443));
        k.sent_by_pod(&tcp(&client, &server, "S"));
        k.sent_to_pod(&tcp(&server, &client, "R"));
        let before = k.flow(&client, &server, TCP).unwrap();
        assert_eq!(k.sent_to_pod(&tcp(&server, &client, "S")), Action::Drop);
        assert_eq!(k.flow(&client, &server, TCP).unwrap(), before);
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 40000, 1)]
        );
    });
}

#[test]
fn a_crossing_syn_pair_is_one_connection_if_both_sides_may_open() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        k.allow_all(INGRESS, 100, 71);
        let (a, b) = (side.pod(5000), side.peer(5001));
        assert_eq!(k.sent_by_pod(&tcp(&a, &b, "S")), Action::Next);
        assert_eq!(k.sent_to_pod(&tcp(&b, &a, "S")), Action::Next);
        assert_eq!(k.sent_by_pod(&tcp(&a, &b, "SA")), Action::Next);
        assert_eq!(k.sent_to_pod(&tcp(&b, &a, "SA")), Action::Next);
        let flow = k.flow(&a, &b, TCP).unwrap();
        assert_eq!((flow.rule, flow.state), (70, ESTABLISHED));
        assert_eq!((flow.egress.packets, flow.ingress.packets), (2, 2));
    });
}

#[test]
fn of_a_crossing_syn_pair_the_forbidden_one_is_dropped() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let (a, b) = (side.pod(5000), side.peer(5001));
        assert_eq!(k.sent_by_pod(&tcp(&a, &b, "S")), Action::Next);
        assert_eq!(k.sent_to_pod(&tcp(&b, &a, "S")), Action::Drop);
        assert_eq!(k.flow(&a, &b, TCP).unwrap().state, 0, "still nascent");
        assert_eq!(k.sent_to_pod(&tcp(&b, &a, "SA")), Action::Next);
    });
}

#[test]
fn a_syn_ack_never_opens() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        k.allow_all(INGRESS, 100, 70);
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(1), &side.pod(2), "SA")),
            Action::Drop
        );
        assert_eq!(k.refusals(), [(Reason::NotSyn, Direction::Ingress, 2, 1)]);
        k.set_sets(set::OPEN, set::OPEN);
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(1), &side.pod(2), "SA")),
            Action::Next
        );
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Allow, Reason::NotSyn),
            1
        );
        assert!(k.flows().is_empty());
    });
}

#[test]
fn mid_stream_after_the_grace_time_it_is_a_new_connection_in_its_own_direction() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(443), &side.pod(40000), "A")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 40000, 1)]
        );
        assert_eq!(
            k.sent_by_pod(&tcp(&side.pod(40000), &side.peer(443), "A")),
            Action::Next
        );
        let flow = k.flow(&side.pod(40000), &side.peer(443), TCP).unwrap();
        assert_eq!((flow.rule, flow.state), (70, 0));
    });
}

fn grant_grace(k: &mut Kernel) {
    let now = k.clock().jiffies;
    k.change_endpoint(|endpoint| endpoint.grace_until = now + 100_000);
}

#[test]
fn in_the_grace_time_mid_stream_passes_if_either_direction_allows_it() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(EGRESS, 100, &[(TCP, 443, 443, 70)]);
        grant_grace(k);
        // The pod is the client, as only the egress policy allows it; its server's packet comes first.
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(443), &side.pod(40000), "A")),
            Action::Next
        );
        let flow = k.flow(&side.pod(40000), &side.peer(443), TCP).unwrap();
        assert_eq!(
            (flow.rule, flow.set),
            (rule::ESTABLISHED_BEFORE_ATTACH, EGRESS)
        );
        assert_eq!(flow.reason, Reason::EstablishedBeforeAttach as u32);
        assert_eq!(flow.state, BEFORE_ATTACH);
        // Neither direction allows this one.
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(80), &side.pod(40000), "A")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 40000, 1)]
        );
        // A SYN is a SYN.
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(443), &side.pod(40001), "S")),
            Action::Drop
        );
    });
}

#[test]
fn in_the_grace_time_a_syn_ack_answers_a_syn_that_was_before_us() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(EGRESS, 100, &[(TCP, 443, 443, 70)]);
        grant_grace(k);
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(443), &side.pod(1), "SA")),
            Action::Next
        );
        assert_eq!(
            k.flow(&side.pod(1), &side.peer(443), TCP).unwrap().state,
            BEFORE_ATTACH
        );
        assert_eq!(
            k.sent_to_pod(&tcp(&side.peer(80), &side.pod(1), "SA")),
            Action::Drop
        );
        assert_eq!(k.refusals(), [(Reason::NotSyn, Direction::Ingress, 1, 1)]);
    });
}

#[test]
fn a_flow_from_before_attach_stays_while_either_direction_allows_it() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(TCP, 80, 80, 70)]);
        grant_grace(k);
        // Seen first from the pod: the egress set does not allow it, the ingress set does.
        let (server, client) = (side.pod(80), side.peer(40000));
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "A")), Action::Next);
        k.flow_events();
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "A")), Action::Next);
        assert!(k.flow_events().is_empty());
        k.forbid(INGRESS, 100);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "A")), Action::Drop);
        assert_eq!(k.denial_events()[0].kind, EventKind::Rejudged as u8);
    });
}

#[test]
fn an_idle_connection_of_hours_goes_on() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let (server, client) = connect(k, side);
        // The clock cannot be moved; the entry can.
        k.change_flow(&server, &client, TCP, |flow| {
            flow.last_seen -= 6 * 3600 * 1000
        });
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "A")), Action::Next);
        assert_eq!(k.sent_to_pod(&tcp(&client, &server, "A")), Action::Next);
        let now = k.clock().jiffies;
        assert!(now - k.flow(&server, &client, TCP).unwrap().last_seen < 60_000);
    });
}

#[test]
fn an_answered_syn_is_half_open_until_its_opener_acknowledges() {
    with_each_family(|k, side| {
        let (client, pod) = (side.peer(999), side.pod(80));
        k.sent_to_pod(&tcp(&client, &pod, "S"));
        k.sent_by_pod(&tcp(&pod, &client, "SA"));
        k.sent_by_pod(&tcp(&pod, &client, "SA"));
        assert_eq!(k.usage(), (1, 0), "nobody has seen the answer yet");
        k.sent_to_pod(&tcp(&client, &pod, "A"));
        assert_eq!(k.usage(), (0, 1));
    });
}
