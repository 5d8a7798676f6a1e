//! What is said about an entry, whichever of doorbell and sweep comes first, and whether the doorbell comes at all.

use std::net::IpAddr;
use std::sync::Arc;

use weir_datapath::abi::{
    self, Denial, DenialKey4, Event, EventKind, Flow, FlowKey4, IPPROTO_TCP, Tally, flow_state,
};
use weir_flow::{Direction, EndReason, EndpointKind, Item, Record, RecordKind, Verdict, samples};

use super::*;
use crate::names::{LocalEndpoint, Strangers};

struct NoMiss;

impl NearestMiss for NoMiss {
    fn nearest_miss(&mut self, _: u32, _: Direction, _: IpAddr, _: u8, _: u16) -> Option<Arc<str>> {
        None
    }
}

fn assembler() -> Assembler {
    assembler_with(Arc::new(Names::default()))
}

fn assembler_with(names: Arc<Names>) -> Assembler {
    let run = Run {
        boot: 1,
        run: 1,
        node: "node-1".into(),
    };
    Assembler::new(
        run,
        Intervals::default(),
        Timeouts::default(),
        names,
        Box::new(NoMiss),
        clock().monotonic_ns,
        16,
    )
}

fn clock() -> WallClock {
    WallClock {
        wall_ns: 1_000_000_000,
        monotonic_ns: 1_000_000_000,
        jiffies: 1000,
        ns_per_jiffy: 1_000_000,
    }
}

fn packets(packets: u64) -> Tally {
    Tally {
        packets,
        bytes: packets * 100,
    }
}

fn flow(serial: u64, received: u64) -> Flow {
    Flow {
        serial,
        state: flow_state::OPENED_BY_REMOTE,
        ingress: packets(received),
        reason: abi::Reason::Policy as u32,
        rule: 70,
        last_seen: 1000,
        ..Flow::default()
    }
}

fn key() -> EntryKey {
    EntryKey::Flow4(FlowKey4 {
        endpoint_protocol: abi::endpoint_protocol(1, IPPROTO_TCP),
        local_port: 80,
        ..FlowKey4::default()
    })
}

/// What a sweep says that meets these flows.
fn sweep(assembler: &mut Assembler, flows: &[Flow]) -> Vec<Record> {
    let mut items = Vec::new();
    assembler.begin_sweep();
    for flow in flows {
        let out = &mut |item| items.push(item);
        assembler.flow(&key(), flow, &clock(), Pressure::Normal, out);
    }
    records(items)
}

fn ring(assembler: &mut Assembler, event: &Event) -> Vec<Record> {
    let mut items = Vec::new();
    assembler.events(std::slice::from_ref(event), &clock(), &mut items);
    records(items)
}

fn records(items: Vec<Item>) -> Vec<Record> {
    items
        .into_iter()
        .map(|item| match item {
            Item::Flow(record) => record,
            Item::Loss(loss) => panic!("{loss:?}"),
        })
        .collect()
}

fn replaced(serial: u64) -> Event {
    Event {
        kind: EventKind::Replaced as u8,
        direction: abi::Direction::Ingress as u8,
        family: 4,
        protocol: IPPROTO_TCP,
        reason: abi::Reason::Policy as u8,
        rule: 70,
        tcp_flags: 0x04 << 8 | 0x12,
        endpoint: 1,
        serial,
        last_seen: 900,
        ingress: packets(5),
        egress: packets(4),
        dropped: [packets(0), packets(2)],
        ..Event::default()
    }
}

#[test]
fn a_replaced_flow_ends_with_its_own_last_counts() {
    let mut assembler = assembler();
    let first = sweep(&mut assembler, &[flow(7, 3)]);
    let [last] = &ring(&mut assembler, &replaced(7))[..] else {
        panic!("one record");
    };
    assert_eq!(last.id, first[0].id);
    assert_eq!(last.number, first[0].number + 1);
    assert_eq!(
        (last.kind, last.end),
        (RecordKind::Ended, Some(EndReason::Reused))
    );
    let counts = &last.counts;
    assert_eq!((counts.ingress.packets, counts.egress.packets), (5, 4));
    assert_eq!(counts.ingress_dropped.bytes, 200);
    assert_eq!(
        (last.tcp_flags.egress, last.tcp_flags.ingress),
        (0x12, 0x04)
    );
    assert_eq!(last.last_seen, clock().jiffies(900));
    assert_eq!(assembler.tracked(), 0);
}

#[test]
fn a_replaced_flow_that_nobody_had_met_is_told_too() {
    let mut assembler = assembler();
    let said = ring(&mut assembler, &replaced(7));
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].id.serial, said[0].counts.ingress.packets), (7, 5));
    assert_eq!(said[0].direction, Direction::Ingress);
}

#[test]
fn a_new_verdict_is_said_by_the_sweep_if_its_doorbell_was_lost() {
    let mut assembler = assembler();
    sweep(&mut assembler, &[flow(7, 3)]);
    let cut = Flow {
        state: flow_state::OPENED_BY_REMOTE | flow_state::DENIED,
        reason: abi::Reason::DefaultDeny as u32,
        rule: abi::rule::DEFAULT_DENY,
        ingress_dropped: packets(1),
        ..flow(7, 3)
    };
    let said = sweep(&mut assembler, &[cut]);
    assert_eq!(said.len(), 1, "at once, not after an interval");
    assert_eq!(
        (said[0].kind, said[0].verdict),
        (RecordKind::Rejudged, Verdict::Dropped)
    );
    assert_eq!(said[0].counts.ingress_dropped.packets, 1);
    let late = Event {
        kind: EventKind::Rejudged as u8,
        verdict: abi::Verdict::Deny as u8,
        reason: abi::Reason::DefaultDeny as u8,
        rule: abi::rule::DEFAULT_DENY,
        ..replaced(7)
    };
    assert_eq!(ring(&mut assembler, &late), [], "said already");
}

#[test]
fn a_denial_by_another_rule_is_said_at_once() {
    let key = EntryKey::Denial4(DenialKey4 {
        reason: abi::Reason::DefaultDeny as u8,
        endpoint_protocol: abi::endpoint_protocol(1, IPPROTO_TCP),
        ..DenialKey4::default()
    });
    let mut assembler = assembler();
    let mut said = Vec::new();
    for rule in [80, 81, 81] {
        let denial = Denial {
            rule,
            serial: 7,
            last_seen: 1000,
            dropped: packets(3),
            ..Denial::default()
        };
        assembler.begin_sweep();
        assembler.denial(&key, &denial, &clock(), &mut |item| said.push(item));
    }
    let said = records(said);
    let kinds: Vec<_> = said.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [RecordKind::Denial, RecordKind::Denial]);
}

#[test]
fn a_doorbell_about_an_entry_that_the_sweep_has_told_of_says_nothing() {
    let mut assembler = assembler();
    sweep(&mut assembler, &[flow(7, 30)]);
    let started = Event {
        kind: EventKind::Started as u8,
        ..replaced(7)
    };
    assert_eq!(
        ring(&mut assembler, &started),
        [],
        "its counts would go back"
    );
}

#[test]
fn a_doorbell_that_an_earlier_run_left_begins_nothing() {
    let started = Event {
        kind: EventKind::Started as u8,
        time_ns: clock().monotonic_ns - 1,
        ..replaced(7)
    };
    assert_eq!(ring(&mut assembler(), &started), []);
}

#[test]
fn a_doorbell_of_a_denial_has_all_that_was_counted() {
    let mut assembler = assembler();
    let denied = Event {
        kind: EventKind::Denied as u8,
        verdict: abi::Verdict::Deny as u8,
        time_ns: clock().monotonic_ns,
        egress: packets(0),
        ..replaced(7)
    };
    let said = ring(&mut assembler, &denied);
    assert_eq!(said[0].counts.ingress_dropped.packets, 5);
}

#[test]
fn a_flow_is_told_again_once_it_is_known_whose_it_is() {
    let names = Arc::new(Names::default());
    let mut assembler = assembler_with(names.clone());
    let said = sweep(&mut assembler, &[flow(7, 3), flow(8, 3)]);
    assert_eq!(said[0].local.name.as_ref(), "");
    let local = LocalEndpoint {
        endpoint: samples::allowed().local,
        mode: weir_flow::Mode::Enforce,
    };
    let pod = local.endpoint.name.clone();
    names.put_local(1, local);
    let said = ring(&mut assembler, &replaced(8));
    assert_eq!(said[0].local.name, pod);
    let said = sweep(&mut assembler, &[flow(7, 3)]);
    assert_eq!(said.len(), 1, "at once");
    assert_eq!(
        (said[0].kind, &said[0].local.name),
        (RecordKind::Updated, &pod)
    );
    assert_eq!(sweep(&mut assembler, &[flow(7, 3)]), []);
}

#[test]
fn a_flow_is_told_again_once_it_is_known_whose_the_other_address_is() {
    let names = Arc::new(Names::default());
    let mut assembler = assembler_with(names.clone());
    let local = LocalEndpoint {
        endpoint: samples::allowed().local,
        mode: weir_flow::Mode::Enforce,
    };
    names.put_local(1, local);
    names.set_strangers(Strangers::Unknown);
    let said = sweep(&mut assembler, &[flow(7, 3)]);
    assert_eq!(said[0].remote.kind, EndpointKind::Unknown);
    names.set_strangers(Strangers::World);
    let said = sweep(&mut assembler, &[flow(7, 3)]);
    assert_eq!(said.len(), 1, "at once");
    assert_eq!(said[0].remote.kind, EndpointKind::World);
    assert_eq!(sweep(&mut assembler, &[flow(7, 3)]), []);
}

/// The same moment's clock, some seconds later, after somebody has set the wall clock.
fn stepped(seconds_later: u64, step_s: i64) -> WallClock {
    let before = clock();
    let later = seconds_later * 1_000_000_000;
    WallClock {
        wall_ns: before.wall_ns + later as i64 + step_s * 1_000_000_000,
        monotonic_ns: before.monotonic_ns + later,
        jiffies: before.jiffies + later / before.ns_per_jiffy,
        ..before
    }
}

#[test]
fn a_step_of_the_wall_clock_changes_no_interval_and_no_age() {
    for step_s in [-3600, 3600] {
        let mut assembler = assembler();
        let mut said = Vec::new();
        let mut at = |clock: WallClock, flow: Flow| {
            assembler.begin_sweep();
            let out = &mut |item| said.push(item);
            let disposition = assembler.flow(&key(), &flow, &clock, Pressure::Normal, out);
            assert_eq!(disposition, Disposition::Keep);
        };
        at(clock(), flow(7, 1));
        at(stepped(10, step_s), flow(7, 2));
        at(stepped(16, step_s), flow(7, 3));
        let young = Flow {
            first_seen_ns: stepped(17, 0).monotonic_ns,
            ..flow(8, 1)
        };
        at(stepped(17, step_s), young);
        let said: Vec<_> = records(said)
            .iter()
            .map(|record| (record.kind, record.counts.ingress.packets))
            .collect();
        let expected = [
            (RecordKind::Updated, 1),
            (RecordKind::Updated, 3),
            (RecordKind::Started, 1),
        ];
        assert_eq!(said, expected, "stepped by {step_s} s");
    }
}
