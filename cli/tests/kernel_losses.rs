//! What no table, ring or spool has room for is told in loss records, exactly, and nothing that was dropped is missing.

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::exact::Exact;
use common::lake::Lake;
use common::traffic::{OPEN, syn};
use common::{is_root, number};
use weir_testkit::{FrameSender, Packet, Pod, Transport};

/// A datagram from one pod to another over IPv4.
fn datagram(from: &Pod, to: &Pod, source_port: u16) -> Vec<u8> {
    Packet::v4(
        from.addresses.v4,
        to.addresses.v4,
        Transport::udp(source_port, OPEN, b"weir"),
    )
    .ethernet(from.mac, from.gateway_mac)
    .frame()
}

/// Packets to `at` from `from`, as records tell: passed, dropped.
fn received(lake: &Lake, at: &str, from: &str) -> (u64, u64) {
    let rows = lake.last();
    let rows = rows.filter(|row| row.local == at && row.remote == from);
    rows.fold((0, 0), |(passed, dropped), row| {
        (
            passed + row.counts.ingress.packets,
            dropped + row.counts.ingress_dropped.packets,
        )
    })
}

#[test]
fn kernel_flows_beyond_the_table_are_losses_or_denials_to_the_packet() {
    const MANY: u16 = 6000;
    if !is_root() {
        return;
    }
    let mut exact = Exact::start(&["--flow-table-size=1024"]);
    let [target, allowed, denied] =
        ["target", "allowed", "denied"].map(|name| exact.pod(name).clone());
    let sender = FrameSender::open(&allowed.netns, "eth0").expect("sender");
    for port in 10_000..10_000 + MANY {
        for to in [&target, &denied] {
            let frame = datagram(&allowed, to, port);
            sender.send(&frame).expect("sent");
        }
        if port % 1000 == 0 {
            exact.collector.restart();
        }
    }
    // An interface does not count what it was not given: the last refusals are waited for by themselves.
    exact.wait_for(|lake| {
        let (passed, dropped) = received(lake, "target", "allowed");
        passed + dropped == u64::from(MANY)
    });
    let lake = exact.wait_until_sums_agree();
    let lost = lake.lost_at("flow_table").packets;
    assert!(lost > u64::from(MANY), "{lost} of the open pods'");
    let (passed, dropped) = received(&lake, "target", "allowed");
    assert!(
        dropped > u64::from(MANY) / 2,
        "{dropped} of the isolated pod's"
    );
    assert_eq!(
        passed + dropped,
        u64::from(MANY),
        "{:#?}\n{:#}",
        lake.summary(),
        exact.status()
    );
    let full = lake.last().filter(|row| row.reason == "table_full");
    assert!(full.count() > 0, "refused by that name");
}

#[test]
fn kernel_refusals_beyond_the_denial_table_are_all_in_records() {
    /// More kinds of refusals than the table has room for.
    const MANY: u16 = 20_000;
    if !is_root() {
        return;
    }
    let exact = Exact::start(&[]);
    let (target, denied) = (exact.pod("target"), exact.pod("denied"));
    let sender = FrameSender::open(&denied.netns, "eth0").expect("sender");
    for port in 2000..2000 + MANY {
        let frame = syn(denied, target, 10_000 + port % 16, port);
        sender.send(&frame).expect("sent");
        if port % 200 == 0 {
            sleep(Duration::from_millis(1));
        }
    }
    let lake = exact.wait_for(|lake| {
        let at_target = lake.last().filter(|row| row.local == "target");
        let dropped: u64 = at_target
            .map(|row| row.counts.ingress_dropped.packets)
            .sum();
        dropped == u64::from(MANY)
    });
    let (_, by_kind) = received(&lake, "target", "denied");
    assert!(by_kind < u64::from(MANY), "some are in the overflow entry");
}

#[test]
fn kernel_what_the_spool_has_no_room_for_is_told_when_the_aggregator_is_back() {
    /// With the repeated one no more than the unanswered flows that one pod may have.
    const MANY: u16 = 3800;
    if !is_root() {
        return;
    }
    let mut exact = Exact::without_aggregator(&["--uplink-bytes=64KiB"]);
    let [target, denied] = ["target", "denied"].map(|name| exact.pod(name).clone());
    let sender = FrameSender::open(&denied.netns, "eth0").expect("sender");
    for port in 2000..2000 + MANY {
        let frame = syn(&denied, &target, 10_000 + port % 16, port);
        sender.send(&frame).expect("sent");
        if port % 50 == 0 {
            sleep(Duration::from_millis(10));
        }
    }
    // A refusal that comes again and again: its later records have what the refused ones had.
    for _ in 0..200 {
        sender
            .send(&syn(&denied, &target, 10_000, 1999))
            .expect("sent");
        sleep(Duration::from_millis(10));
    }
    let status = exact.status();
    let held = number(&status, "/uplink/unacked_bytes");
    assert!(held >= 60 << 10, "the spool is full: {status:#}");
    exact.start_aggregator();
    let told = exact.wait_for(|lake| {
        let lost = lake.lost_at("uplink");
        let (_, dropped) = received(lake, "target", "denied");
        dropped + lost.packets == u64::from(MANY) + 200
    });
    let records: u64 = told
        .losses
        .iter()
        .filter(|loss| loss.place == "uplink")
        .map(|loss| loss.records)
        .sum();
    assert!(records > 0, "{:?}", told.losses);
}
