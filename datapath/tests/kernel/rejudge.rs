//! A new policy epoch and flows that are older.

use weir_datapath::abi::flow_state::*;
use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

/// An established UDP flow that the pod opened towards the peer's port 53, allowed by rule 70.
fn established(k: &mut Kernel, side: &Side) -> (String, String) {
    k.isolate();
    k.peer(side.peer, 100, 0);
    k.allow(EGRESS, 100, &[(IPPROTO_UDP, 53, 53, 70)]);
    k.bump_epoch();
    let (pod, server) = (side.pod(999), side.peer(53));
    assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Next);
    assert_eq!(k.sent_to_pod(&udp(&server, &pod)), Action::Next);
    k.flow_events();
    (pod, server)
}

#[test]
fn a_recheck_that_changes_nothing_says_nothing() {
    with_each_family(|k, side| {
        let (pod, server) = established(k, side);
        k.bump_epoch();
        assert_eq!(
            k.sent_to_pod(&udp(&server, &pod)),
            Action::Next,
            "judged as the pod opened it, though a reply asks"
        );
        let flow = k.flow(&pod, &server, IPPROTO_UDP).unwrap();
        assert_eq!((flow.epoch, flow.rule), (k.epoch(), 70));
        assert!(k.flow_events().is_empty() && k.denial_events().is_empty());
    });
}

#[test]
fn a_flow_that_is_no_longer_allowed_is_cut_and_keeps_its_entry() {
    with_each_family(|k, side| {
        let (pod, server) = established(k, side);
        let bytes = udp(&pod, &server).bytes().len() as u64;
        k.forbid(EGRESS, 100);
        k.bump_epoch();
        assert_eq!(k.sent_to_pod(&udp(&server, &pod)), Action::Drop);
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Drop);
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Drop);
        let flow = k.flow(&pod, &server, IPPROTO_UDP).unwrap();
        assert_eq!(flow.state, ESTABLISHED | DENIED);
        assert_eq!(
            (flow.rule, flow.reason),
            (rule::DEFAULT_DENY, Reason::DefaultDeny as u32)
        );
        assert_eq!(
            flow.egress_dropped,
            Tally {
                packets: 2,
                bytes: 2 * bytes
            }
        );
        assert_eq!(flow.ingress_dropped, Tally { packets: 1, bytes });
        assert_eq!(flow.egress.packets, 1);
        let events = k.denial_events();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].kind, events[0].verdict),
            (EventKind::Rejudged as u8, Verdict::Deny as u8)
        );
        assert_eq!((events[0].serial, events[0].set), (flow.serial, EGRESS));
        assert!(k.refusals().is_empty());
    });
}

#[test]
fn a_cut_flow_that_is_allowed_again_goes_on() {
    with_each_family(|k, side| {
        let (pod, server) = established(k, side);
        k.forbid(EGRESS, 100);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Drop);
        k.allow_all(EGRESS, 100, 71);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Next);
        let flow = k.flow(&pod, &server, IPPROTO_UDP).unwrap();
        assert_eq!((flow.state, flow.rule), (ESTABLISHED, 71));
        let events = k.flow_events();
        assert_eq!(
            (events[0].kind, events[0].rule),
            (EventKind::Rejudged as u8, 71)
        );
    });
}

#[test]
fn another_rule_for_the_same_verdict_is_news() {
    with_each_family(|k, side| {
        let (pod, server) = established(k, side);
        k.allow(EGRESS, 100, &[(IPPROTO_UDP, 53, 53, 80)]);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Next);
        let events = k.flow_events();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].kind, events[0].rule),
            (EventKind::Rejudged as u8, 80)
        );
    });
}

#[test]
fn a_flow_that_the_remote_opened_is_rechecked_at_the_pods_port() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow(INGRESS, 100, &[(IPPROTO_TCP, 80, 80, 70)]);
        let (server, client) = (side.pod(80), side.peer(40000));
        assert_eq!(k.sent_to_pod(&tcp(&client, &server, "S")), Action::Next);
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "SA")), Action::Next);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "A")), Action::Next);
        k.allow(INGRESS, 100, &[(IPPROTO_TCP, 81, 81, 70)]);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&tcp(&server, &client, "A")), Action::Drop);
    });
}

#[test]
fn a_connection_from_the_own_node_survives_isolation() {
    with_each_family(|k, side| {
        // Opened while nothing was known of the node's address.
        let (server, node) = (side.pod(8080), side.at(side.node, 1));
        assert_eq!(k.sent_by_node(&tcp(&node, &server, "S")), Action::Next);
        let flow = k.flow(&server, &node, IPPROTO_TCP).unwrap();
        assert_eq!(flow.state, OPENED_BY_REMOTE | LOCAL_ORIGIN);
        k.peer(side.node, 50, peer_flag::OWN_NODE | peer_flag::NODE);
        k.isolate();
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&tcp(&server, &node, "SA")), Action::Next);
        assert_eq!(
            k.flow(&server, &node, IPPROTO_TCP).unwrap().rule,
            rule::OWN_NODE
        );
    });
}

#[test]
fn isolation_cuts_what_no_rule_allows() {
    with_each_family(|k, side| {
        let (pod, server) = (side.pod(1), side.peer(2));
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Next);
        k.isolate();
        assert_eq!(
            k.sent_by_pod(&udp(&pod, &server)),
            Action::Next,
            "the sets alone change nothing for a flow"
        );
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Drop);
        assert_eq!(k.flow(&pod, &server, IPPROTO_UDP).unwrap().set, EGRESS);
    });
}

#[test]
fn a_cut_connection_may_be_opened_anew_from_the_other_side() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let (pod, peer) = (side.pod(5000), side.peer(5001));
        k.sent_by_pod(&tcp(&pod, &peer, "S"));
        k.sent_to_pod(&tcp(&peer, &pod, "SA"));
        k.forbid(EGRESS, 100);
        k.allow_all(INGRESS, 100, 71);
        k.bump_epoch();
        assert_eq!(k.sent_by_pod(&tcp(&pod, &peer, "A")), Action::Drop);
        assert_eq!(k.sent_to_pod(&tcp(&peer, &pod, "S")), Action::Next);
        let flow = k.flow(&pod, &peer, IPPROTO_TCP).unwrap();
        assert_eq!(
            (flow.rule, flow.incarnation, flow.state),
            (71, 1, OPENED_BY_REMOTE)
        );
        assert_eq!(flow.base_egress_dropped.packets, 1);
        assert_eq!(k.sent_by_pod(&tcp(&pod, &peer, "SA")), Action::Next);
    });
}
