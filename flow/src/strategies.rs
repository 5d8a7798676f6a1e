//! Random items for property tests.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use crate::{
    Counts, Direction, EndReason, Endpoint, EndpointKind, FlowId, Icmp, Item, LossPlace,
    LossRecord, Mode, PolicyRef, Reason, Record, RecordKind, Rule, ServiceRef, Tally, TcpFlags,
    Timestamp, Verdict, Workload,
};

fn text() -> impl Strategy<Value = Arc<str>> {
    "[a-zé0-9-]{0,6}".prop_map(Arc::from)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

fn endpoint() -> impl Strategy<Value = Arc<Endpoint>> {
    let labels = prop::collection::vec("[a-z]{1,3}=[a-z]{0,3}".prop_map(Arc::from), 0..4);
    let workload = prop::option::of((text(), text()));
    (
        select(EndpointKind::ALL),
        any::<u32>(),
        text(),
        text(),
        labels,
        workload,
    )
        .prop_map(|(kind, identity, namespace, name, labels, workload)| {
            Arc::new(Endpoint {
                kind,
                identity,
                namespace,
                name,
                labels: labels.into(),
                workload: workload.map(|(kind, name)| Workload { kind, name }),
            })
        })
}

fn policy() -> impl Strategy<Value = PolicyRef> {
    (text(), text(), text()).prop_map(|(kind, namespace, name)| PolicyRef {
        kind,
        namespace,
        name,
    })
}

fn rule() -> impl Strategy<Value = Arc<Rule>> {
    let rule = (policy(), select(Direction::ALL), any::<u32>());
    prop::option::of(rule).prop_map(|rule| {
        Arc::new(
            rule.map_or(Rule::None, |(policy, direction, index)| Rule::Policy {
                policy,
                direction,
                index,
            }),
        )
    })
}

fn tally() -> impl Strategy<Value = Tally> {
    any::<[u64; 3]>().prop_map(|[packets, bytes, segments]| Tally {
        packets,
        bytes,
        segments,
    })
}

type Judgement = (
    Direction,
    Verdict,
    Reason,
    Mode,
    Arc<Rule>,
    Vec<PolicyRef>,
    Option<Arc<str>>,
    u64,
);

fn judgement() -> impl Strategy<Value = Judgement> {
    (
        select(Direction::ALL),
        select(Verdict::ALL),
        select(Reason::ALL),
        select(Mode::ALL),
        rule(),
        prop::collection::vec(policy(), 0..3),
        prop::option::of(text()),
        any::<u64>(),
    )
}

type Tuple = (IpAddr, IpAddr, u16, u16, Option<Icmp>, u8, Option<u16>);

fn tuple() -> impl Strategy<Value = Tuple> {
    let icmp = any::<[u8; 2]>().prop_map(|[kind, code]| Icmp { kind, code });
    (
        any::<IpAddr>(),
        any::<IpAddr>(),
        any::<u16>(),
        any::<u16>(),
        prop::option::of(icmp),
        any::<u8>(),
        prop::option::of(any::<u16>()),
    )
}

type Counted = ([Tally; 4], [u8; 2], Option<EndReason>, bool);

fn counted() -> impl Strategy<Value = Counted> {
    (
        [tally(), tally(), tally(), tally()],
        any::<[u8; 2]>(),
        prop::option::of(select(EndReason::ALL)),
        any::<bool>(),
    )
}

prop_compose! {
    /// Any record.
    pub(crate) fn any_record()(
        (time, first_seen, last_seen) in (time(), time(), time()),
        (boot, serial, number) in any::<(u64, u64, u32)>(),
        (kind, node) in (select(RecordKind::ALL), text()),
        (local, remote) in (endpoint(), endpoint()),
        service in prop::option::of((text(), text())),
        (local_ip, remote_ip, local_port, remote_port, icmp, protocol, ethertype) in tuple(),
        (direction, verdict, reason, mode, rule, isolated_by, nearest_miss, revision) in judgement(),
        (tallies, flags, end, source_nat_suspected) in counted(),
    ) -> Record {
        let [egress, ingress, egress_dropped, ingress_dropped] = tallies;
        Record {
            time,
            id: FlowId { boot, serial },
            number,
            kind,
            first_seen,
            last_seen,
            node,
            local,
            remote,
            service: service.map(|(namespace, name)| Arc::new(ServiceRef { namespace, name })),
            local_ip,
            remote_ip,
            local_port,
            remote_port,
            icmp,
            protocol,
            direction,
            verdict,
            reason,
            rule,
            isolated_by: isolated_by.into(),
            nearest_miss,
            revision,
            mode,
            counts: Counts { egress, ingress, egress_dropped, ingress_dropped },
            tcp_flags: TcpFlags { egress: flags[0], ingress: flags[1] },
            end,
            source_nat_suspected,
            ethertype,
        }
    }
}

prop_compose! {
    fn any_loss()(
        (time, from, to) in (time(), time(), time()),
        node in text(),
        place in select(LossPlace::ALL),
        endpoint in prop::option::of(text()),
        [records, packets, bytes] in any::<[u64; 3]>(),
    ) -> LossRecord {
        LossRecord { time, node, place, endpoint, records, packets, bytes, from, to }
    }
}

/// Any item.
pub(crate) fn any_item() -> impl Strategy<Value = Item> {
    prop_oneof![
        8 => any_record().prop_map(Item::Flow),
        1 => any_loss().prop_map(Item::Loss),
    ]
}
