//! How entries leave: the retire program, and packets that meet a retired entry.

use weir_datapath::abi::flow_state::*;
use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

#[test]
fn retiring_takes_flows_out_of_the_endpoints_count_once() {
    with_kernel(|k| {
        for port in [1, 2, 3] {
            k.sent_by_pod(&udp("10.0.0.5:9", &format!("10.1.0.1:{port}")));
        }
        k.sent_to_pod(&udp("10.1.0.1:1", "10.0.0.5:9"));
        assert_eq!(k.usage(), (2, 1));
        let key = |port: u16| match FlowKey::new(
            "10.0.0.5:9",
            &format!("10.1.0.1:{port}"),
            IPPROTO_UDP,
        ) {
            FlowKey::V4(key) => key,
            FlowKey::V6(_) => unreachable!(),
        };
        let keys: Vec<u8> = [key(1), key(2), key(77)]
            .iter()
            .flat_map(flow_key4_bytes)
            .collect();
        assert_eq!(k.retire(retire::TABLE_FLOWS4, 3, SLOT as u16, &keys), 2);
        assert_eq!(k.usage(), (1, 0));
        assert_eq!(
            k.retire(retire::TABLE_FLOWS4, 3, SLOT as u16, &keys),
            0,
            "the second time nothing"
        );
        assert_eq!(k.usage(), (1, 0));
        assert_eq!(
            k.flow("10.0.0.5:9", "10.1.0.1:1", IPPROTO_UDP)
                .unwrap()
                .state,
            ESTABLISHED | RETIRED
        );
        assert_eq!(
            k.flow("10.0.0.5:9", "10.1.0.1:3", IPPROTO_UDP)
                .unwrap()
                .state,
            0
        );
    });
}

#[test]
fn an_endpoint_that_is_gone_has_no_count_to_leave() {
    with_kernel(|k| {
        k.sent_by_pod(&udp("10.0.0.5:9", "10.1.0.1:1"));
        let FlowKey::V4(key) = FlowKey::new("10.0.0.5:9", "10.1.0.1:1", IPPROTO_UDP) else {
            unreachable!()
        };
        assert_eq!(
            k.retire(retire::TABLE_FLOWS4, 1, u16::MAX, &flow_key4_bytes(&key)),
            1
        );
        assert_eq!(k.usage(), (1, 0));
    });
}

#[test]
fn input_that_makes_no_sense_is_malformed() {
    with_kernel(|k| {
        assert_eq!(k.retire(0x55, 1, 0, &[0; 64]), retire::MALFORMED);
        assert_eq!(
            k.retire(retire::TABLE_FLOWS4, 2, 0, &[0; 16]),
            retire::MALFORMED,
            "cut off"
        );
    });
}

#[test]
fn as_many_keys_as_one_run_takes() {
    with_kernel(|k| {
        let mut keys = Vec::new();
        for port in 1..=u16::from(retire::MAX_KEYS) {
            let remote = format!("[fd01::1]:{port}");
            k.sent_by_pod(&udp("[fd00::5]:9", &remote));
            let FlowKey::V6(key) = FlowKey::new("[fd00::5]:9", &remote, IPPROTO_UDP) else {
                unreachable!()
            };
            keys.extend(flow_key6_bytes(&key));
        }
        let count = u32::from(retire::MAX_KEYS);
        assert_eq!(
            k.retire(retire::TABLE_FLOWS6, retire::MAX_KEYS, SLOT as u16, &keys),
            count
        );
        assert_eq!(k.usage(), (0, 0));
    });
}

#[test]
fn a_packet_that_meets_a_retired_flow_is_judged_for_itself() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let (pod, server) = (side.pod(9), side.peer(53));
        k.sent_by_pod(&udp(&pod, &server));
        k.change_flow(&pod, &server, IPPROTO_UDP, |flow| flow.state |= RETIRED);
        let before = k.flow(&pod, &server, IPPROTO_UDP).unwrap();
        assert_eq!(k.sent_by_pod(&udp(&pod, &server)), Action::Next);
        assert_eq!(
            k.sent_to_pod(&udp(&server, &pod)),
            Action::Drop,
            "no reply any more, and ingress is isolated"
        );
        assert_eq!(k.flow(&pod, &server, IPPROTO_UDP).unwrap(), before);
        assert_eq!(
            k.ledger_packets(Direction::Egress, Verdict::Allow, Reason::EntryRetiring),
            1
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 9, 1)]
        );
    });
}

#[test]
fn a_packet_that_meets_a_retired_denial_is_counted_elsewhere() {
    with_kernel(|k| {
        k.isolate();
        let syn = tcp("10.1.0.1:1", "10.0.0.5:80", "S");
        k.sent_to_pod(&syn);
        let (key, _) = k.denials4()[0];
        assert_eq!(
            k.retire(retire::TABLE_DENIALS4, 1, 0, &denial_key4_bytes(&key)),
            1
        );
        assert_eq!(k.sent_to_pod(&syn), Action::Drop);
        assert_eq!(k.denials4()[0].1.dropped.packets, 1);
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Deny, Reason::DefaultDeny),
            1
        );
    });
}

#[test]
fn the_clock_program_reads_both_clocks() {
    with_kernel(|k| {
        let first = k.clock();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let second = k.clock();
        assert!(second.monotonic_ns - first.monotonic_ns >= 50_000_000);
        assert!(second.jiffies > first.jiffies);
    });
}
