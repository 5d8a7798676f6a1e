//! Refusals: dropped, counted, announced once, never silent.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

#[test]
fn a_refused_connection_is_one_denial_whatever_its_source_port() {
    with_each_family(|k, side| {
        k.isolate();
        let syn = |port| tcp(&side.peer(port), &side.pod(80), "S");
        let bytes = syn(1).bytes().len() as u64;
        for port in 40000..40005 {
            assert_eq!(k.sent_to_pod(&syn(port)), Action::Drop);
        }
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 80, 5)]
        );
        assert!(k.flows().is_empty());

        let events = k.denial_events();
        assert_eq!(
            events.len(),
            1,
            "the first packet rings, the others are counted"
        );
        let event = events[0];
        assert_eq!(
            (event.kind, event.verdict),
            (EventKind::Denied as u8, Verdict::Deny as u8)
        );
        assert_eq!(
            (event.reason, event.rule),
            (Reason::DefaultDeny as u8, rule::DEFAULT_DENY)
        );
        assert_eq!((event.set, event.epoch), (INGRESS, k.epoch()));
        assert_eq!((event.local_port, event.remote_port), (80, 40000));
        assert_eq!(
            (event.ingress, event.extra),
            (Tally { packets: 1, bytes }, [1, bytes])
        );
        assert!(k.flow_events().is_empty());
    });
}

#[test]
fn a_denial_keeps_the_last_source_port_and_the_first_flags() {
    with_kernel(|k| {
        k.isolate();
        k.sent_by_pod(&tcp("10.0.0.5:1111", "10.1.0.1:80", "S"));
        k.sent_by_pod(&tcp("10.0.0.5:2222", "10.1.0.1:80", "S"));
        let (key, denial) = k.denials4()[0];
        assert_eq!(denial.flags_port, 0x02 | 2222 << 16);
        assert_eq!((key.port, key.direction), (80, Direction::Egress as u8));
        assert_eq!(
            (key.local, key.remote),
            (ipv4("10.0.0.5"), ipv4("10.1.0.1"))
        );
    });
}

#[test]
fn attempts_at_different_ports_peers_and_directions_are_denials_of_their_own() {
    with_each_family(|k, side| {
        k.isolate();
        k.sent_to_pod(&udp(&side.peer(1), &side.pod(80)));
        k.sent_to_pod(&udp(&side.peer(1), &side.pod(81)));
        k.sent_to_pod(&udp(&side.at(side.world, 1), &side.pod(80)));
        k.sent_by_pod(&udp(&side.pod(1), &side.peer(80)));
        assert_eq!(k.refusals().len(), 4);
        assert_eq!(k.denial_events().len(), 4);
    });
}

#[test]
fn a_denial_under_a_new_epoch_takes_the_new_words_and_says_so_once() {
    with_each_family(|k, side| {
        k.isolate();
        let syn = tcp(&side.peer(1), &side.pod(80), "S");
        k.sent_to_pod(&syn);
        let first = k.denial_events()[0];
        k.bump_epoch();
        assert_eq!(k.sent_to_pod(&syn), Action::Drop);
        assert!(
            k.denial_events().is_empty(),
            "same rule, same set: nothing new"
        );
        k.set_sets(INGRESS + 8, EGRESS);
        k.bump_epoch();
        for _ in 0..3 {
            assert_eq!(k.sent_to_pod(&syn), Action::Drop);
        }
        let events = k.denial_events();
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].set, events[0].serial),
            (INGRESS + 8, first.serial)
        );
        assert_eq!(events[0].ingress.packets, 3, "the entry's total so far");
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 80, 5)]
        );
    });
}

#[test]
fn what_was_denied_passes_once_a_new_epoch_allows_it() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        let syn = tcp(&side.peer(1), &side.pod(80), "S");
        assert_eq!(k.sent_to_pod(&syn), Action::Drop);
        k.allow_all(INGRESS, 100, 70);
        k.bump_epoch();
        assert_eq!(k.sent_to_pod(&syn), Action::Next);
    });
}

#[test]
fn denials_beyond_the_table_go_to_the_overflow_entry() {
    with_kernel(|k| {
        k.isolate();
        let overflow = DenialKey4 {
            reason: Reason::DefaultDeny as u8,
            direction: Direction::Ingress as u8,
            endpoint_protocol: endpoint_protocol(ENDPOINT, 0),
            ..DenialKey4::default()
        };
        k.insert_denial4(overflow, Denial::default());
        for port in 1..=600 {
            assert_eq!(
                k.sent_to_pod(&udp("10.1.0.1:9", &format!("10.0.0.5:{port}"))),
                Action::Drop
            );
        }
        let denials = k.denials4();
        assert_eq!(denials.len(), 512);
        let counted = denials.iter().find(|(key, _)| *key == overflow).unwrap().1;
        assert_eq!(counted.dropped.packets, 600 - 511);
    });
}

#[test]
fn without_overflow_entry_the_ledger_counts_them() {
    with_kernel(|k| {
        k.isolate();
        for port in 1..=600 {
            assert_eq!(
                k.sent_to_pod(&udp("10.1.0.1:9", &format!("10.0.0.5:{port}"))),
                Action::Drop
            );
        }
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Deny, Reason::DefaultDeny),
            600 - 512
        );
    });
}

#[test]
fn a_full_denial_ring_is_counted() {
    with_kernel(|k| {
        k.isolate();
        let before = k.counter(Counter::DenialRingFull);
        for port in 1..=500 {
            k.sent_to_pod(&udp("10.1.0.1:9", &format!("10.0.0.5:{port}")));
        }
        let rang = k.denial_events().len() as u64;
        assert!(rang < 500);
        assert_eq!(rang + k.counter(Counter::DenialRingFull) - before, 500);
    });
}
