//! ICMP: echoes are flows, errors belong to flows, neighbours are resolved.

use weir_datapath::abi::*;

use super::harness::*;
use super::packets::*;

/// "Fragmentation needed", "packet too big": what path MTU discovery lives on.
fn too_big(side: &Side) -> (u8, u8) {
    if side.family == 4 { (3, 4) } else { (2, 0) }
}

#[test]
fn an_echo_and_its_reply_are_one_flow_by_identifier() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let (protocol, request, reply) = side.echo;
        assert_eq!(
            k.sent_by_pod(&echo(side.pod, side.peer, request, 7)),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&echo(side.peer, side.pod, reply, 7)),
            Action::Next
        );
        let flow = k
            .flow(&side.pod(7), &side.peer(u16::from(request) << 8), protocol)
            .unwrap();
        assert_eq!((flow.egress.packets, flow.ingress.packets), (1, 1));
        assert_eq!((flow.state, flow.rule), (flow_state::ESTABLISHED, 70));
        assert_eq!(
            k.sent_to_pod(&echo(side.peer, side.pod, reply, 8)),
            Action::Drop,
            "another identifier"
        );
        assert_eq!(
            k.sent_to_pod(&echo(side.peer, side.pod, request, 9)),
            Action::Drop,
            "ping obeys policy"
        );
    });
}

#[test]
fn an_error_about_an_allowed_flow_passes_on_an_isolated_pod() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let packet = tcp(&side.pod(1000), &side.peer(443), "S");
        k.sent_by_pod(&packet);
        // From a router that no policy names.
        let error = icmp_error(side.world, side.pod, too_big(side), &packet);
        assert_eq!(k.sent_to_pod(&error), Action::Next);
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Allow, Reason::IcmpRelated),
            1
        );
    });
}

#[test]
fn an_error_that_the_pod_sends_about_a_flow_to_it_passes() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(INGRESS, 100, 70);
        let packet = udp(&side.peer(1000), &side.pod(9));
        k.sent_to_pod(&packet);
        let unreachable = if side.family == 4 { (3, 3) } else { (1, 4) };
        assert_eq!(
            k.sent_by_pod(&icmp_error(side.pod, side.peer, unreachable, &packet)),
            Action::Next
        );
        assert_eq!(
            k.ledger_packets(Direction::Egress, Verdict::Allow, Reason::IcmpRelated),
            1
        );
    });
}

#[test]
fn an_error_about_an_echo_passes() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let packet = echo(side.pod, side.peer, side.echo.1, 7);
        k.sent_by_pod(&packet);
        assert_eq!(
            k.sent_to_pod(&icmp_error(side.world, side.pod, too_big(side), &packet)),
            Action::Next
        );
    });
}

#[test]
fn errors_that_belong_to_no_allowed_flow_are_refused_where_isolated() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let packet = tcp(&side.pod(1000), &side.peer(443), "S");
        k.sent_by_pod(&packet);
        let kind = too_big(side);
        let strange = tcp(&side.pod(1001), &side.peer(443), "S");
        assert_eq!(
            k.sent_to_pod(&icmp_error(side.world, side.pod, kind, &strange)),
            Action::Drop,
            "another port"
        );
        // The quoted packet was sent by somebody else than the error goes to.
        let reversed = tcp(&side.peer(443), &side.pod(1000), "SA");
        assert_eq!(
            k.sent_to_pod(&icmp_error(side.world, side.pod, kind, &reversed)),
            Action::Drop
        );
        let cut = icmp(side.world, side.pod, kind, &[0; 12]);
        assert_eq!(k.sent_to_pod(&cut), Action::Drop, "too short a quotation");
        let port = u16::from(kind.0) << 8 | u16::from(kind.1);
        assert_eq!(
            k.refusals(),
            [(Reason::IcmpUnrelated, Direction::Ingress, port, 3)]
        );
    });
}

#[test]
fn an_error_about_a_cut_flow_is_unrelated() {
    with_each_family(|k, side| {
        k.isolate();
        k.peer(side.peer, 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let packet = udp(&side.pod(1000), &side.peer(443));
        k.sent_by_pod(&packet);
        k.forbid(EGRESS, 100);
        k.bump_epoch();
        // The error is the first packet under the new epoch.
        assert_eq!(
            k.sent_to_pod(&icmp_error(side.world, side.pod, too_big(side), &packet)),
            Action::Drop
        );
    });
}

#[test]
fn unrelated_errors_pass_where_not_isolated() {
    with_each_family(|k, side| {
        let packet = udp(&side.pod(1000), &side.peer(443));
        assert_eq!(
            k.sent_to_pod(&icmp_error(side.world, side.pod, too_big(side), &packet)),
            Action::Next
        );
        assert_eq!(
            k.ledger_packets(Direction::Ingress, Verdict::Allow, Reason::IcmpUnrelated),
            1
        );
    });
}

#[test]
fn an_error_behind_options_or_extension_headers_is_matched() {
    with_kernel(|k| {
        k.isolate();
        k.peer("10.1.0.1", 100, 0);
        k.allow_all(EGRESS, 100, 70);
        let packet = udp("10.0.0.5:1000", "10.1.0.1:443");
        k.sent_by_pod(&packet);
        let quoted = with_options(&packet, &[1; 8]);
        assert_eq!(
            k.sent_to_pod(&icmp_error("1.1.1.1", "10.0.0.5", (3, 4), &quoted)),
            Action::Next
        );
        let error = with_options(&icmp_error("1.1.1.1", "10.0.0.5", (3, 4), &packet), &[1; 4]);
        assert_eq!(k.sent_to_pod(&error), Action::Next);

        k.peer("fd01::1", 100, 0);
        let packet = udp("[fd00::5]:1000", "[fd01::1]:443");
        k.sent_by_pod(&packet);
        let quoted = with_extensions(&packet, &[(60, vec![0; 8])]);
        assert_eq!(
            k.sent_to_pod(&icmp_error("2001::1", "fd00::5", (2, 0), &quoted)),
            Action::Next
        );
    });
}

#[test]
fn a_redirect_is_not_a_pods_to_send() {
    with_kernel(|k| {
        let quoted = udp("10.1.0.1:1", "10.9.0.1:2");
        assert_eq!(
            k.sent_by_pod(&icmp_error("10.0.0.5", "10.1.0.1", (5, 1), &quoted)),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::RogueRouter, Direction::Egress, 5 << 8 | 1, 1)]
        );
    });
}

#[test]
fn neighbour_discovery_passes_on_an_isolated_pod() {
    with_kernel(|k| {
        k.isolate();
        let solicited = "ff02::1:ff00:1";
        assert_eq!(
            k.sent_by_pod(&neighbour("fd00::5", solicited, 135, 255, "fd00::1")),
            Action::Next
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("::", solicited, 135, 255, "fd00::5")),
            Action::Next,
            "address detection"
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("fd00::5", "ff02::1", 136, 255, "fd00::5")),
            Action::Next
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("fe80::5", "ff02::1", 136, 255, "fe80::5")),
            Action::Next
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("fe80::5", "ff02::2", 133, 255, "::")),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&neighbour("fe80::1", "ff02::1", 134, 255, "::")),
            Action::Next
        );
        assert_eq!(
            k.sent_to_pod(&neighbour("fd00::1", "fd00::5", 136, 255, "fd00::1")),
            Action::Next
        );
        assert_eq!(
            k.ledger_packets(
                Direction::Egress,
                Verdict::Allow,
                Reason::NeighbourDiscovery
            ),
            5
        );
        assert_eq!(
            k.ledger_packets(
                Direction::Ingress,
                Verdict::Allow,
                Reason::NeighbourDiscovery
            ),
            2
        );
        assert!(k.flows().is_empty());
    });
}

#[test]
fn neighbour_discovery_from_off_link_is_none() {
    with_kernel(|k| {
        k.isolate();
        assert_eq!(
            k.sent_to_pod(&neighbour("fd01::1", "fd00::5", 136, 64, "fd00::1")),
            Action::Drop
        );
        assert_eq!(
            k.refusals(),
            [(Reason::DefaultDeny, Direction::Ingress, 136 << 8, 1)]
        );
    });
}

#[test]
fn a_pod_advertises_its_own_addresses_only_and_is_no_router() {
    with_kernel(|k| {
        assert_eq!(
            k.sent_by_pod(&neighbour("fd00::5", "ff02::1", 136, 255, "fd00::1")),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("fd00::1", "ff02::1", 136, 255, "fd00::5")),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("fe80::5", "ff02::1", 134, 255, "::")),
            Action::Drop
        );
        assert_eq!(
            k.sent_by_pod(&neighbour("fe80::5", "fd00::9", 137, 255, "::")),
            Action::Drop
        );
        let mut reasons: Vec<Reason> = k.refusals().into_iter().map(|refusal| refusal.0).collect();
        reasons.dedup();
        assert_eq!(
            reasons,
            [
                Reason::SpoofedSource,
                Reason::SpoofedNeighbour,
                Reason::RogueRouter
            ]
        );
    });
}

#[test]
fn multicast_listener_reports_pass() {
    with_kernel(|k| {
        k.isolate();
        // MLD comes behind a hop-by-hop header with the router alert option.
        let report = icmp("fe80::5", "ff02::16", (143, 0), &[0; 24]);
        let report = with_extensions(&report, &[(0, vec![0, 0, 5, 2, 0, 0, 1, 0])]);
        assert_eq!(k.sent_by_pod(&report), Action::Next);
        assert_eq!(
            k.sent_by_pod(&other(
                "10.0.0.5",
                "224.0.0.22",
                2,
                &[0x22, 0, 0, 0, 0, 0, 0, 0]
            )),
            Action::Next
        );
        assert_eq!(
            k.ledger_packets(Direction::Egress, Verdict::Allow, Reason::MulticastListener),
            2
        );
        assert_eq!(
            k.sent_by_pod(&other(
                "10.0.0.6",
                "224.0.0.22",
                2,
                &[0x22, 0, 0, 0, 0, 0, 0, 0]
            )),
            Action::Drop
        );
        assert_eq!(k.refusals()[0].0, Reason::SpoofedSource);
    });
}
