//! Every packet is in exactly one record, one loss record or one non-flow counter: through a reader that is stopped
//! while the rings overflow, and through SIGKILL and adoption at random moments.

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::exact::Exact;
use common::lake::Lake;
use common::traffic::{OPEN, Traffic, syn};
use common::{DIAL, is_root, number};
use nix::sys::signal::Signal;
use weir_testkit::{Dial, FrameSender, Outcome, UdpServer};

/// Packets from one pod that records say were dropped before another.
fn dropped(lake: &Lake, at: &str, from: &str) -> u64 {
    let rows = lake.last();
    rows.filter(|row| row.local == at && row.remote == from)
        .map(|row| row.counts.ingress_dropped.packets)
        .sum()
}

#[test]
fn kernel_counts_survive_sigkill_at_random_moments() {
    if !is_root() {
        return;
    }
    let seed = fastrand::get_seed();
    println!("seed {seed}");
    let mut exact = Exact::start(&[]);
    let traffic = Traffic::start(
        exact.pod("target"),
        exact.pod("allowed"),
        exact.pod("denied"),
    );
    for _ in 0..12 {
        sleep(Duration::from_millis(fastrand::u64(..1500)));
        exact.collector.restart();
    }
    let refused = traffic.stop();
    let lake = exact.wait_until_sums_agree();
    assert!(refused > 1000, "{refused}");
    assert_eq!(dropped(&lake, "target", "denied"), refused);
    let harmless = |place: &str| place == "entry_retiring"; // met an entry on its way out
    let lost = lake.losses.iter().find(|loss| !harmless(&loss.place));
    assert_eq!(lost, None, "nothing was lost");
    let reused = lake
        .last()
        .filter(|row| row.kind == "ended" && row.local == "target");
    assert!(reused.count() > 10, "tuples were used again");
}

#[test]
fn kernel_full_rings_delay_records_and_lose_none() {
    /// More than the denial ring has room for, and two flows each are more than the flow ring has room for; but no more
    /// than the unanswered flows that one pod may have.
    const MANY: u16 = 4000;
    if !is_root() {
        return;
    }
    let mut exact = Exact::start(&[]);
    let stopped = exact.collector.process.signal(Signal::SIGSTOP);
    stopped.expect("stopped");
    let [target, allowed, denied] = ["target", "allowed", "denied"].map(|name| exact.pod(name));
    let _server = UdpServer::start(&target.netns, OPEN).expect("server");
    let sender = FrameSender::open(&denied.netns, "eth0").expect("sender");
    for port in 20_000..20_000 + MANY {
        sender
            .send(&syn(denied, target, 10_000, port))
            .expect("sent");
        let dial = Dial::to((target.addresses.v4, OPEN))
            .from((allowed.addresses.v4, port))
            .timeout(DIAL);
        let outcome = dial.udp(&allowed.netns).expect("sent");
        assert_eq!(outcome, Outcome::Connected);
    }
    let woken = exact.collector.process.signal(Signal::SIGCONT);
    woken.expect("woken");

    let lake = exact.wait_until_sums_agree();
    let status = exact.status();
    assert!(number(&status, "/flow_ring_full") > 0, "{status:#}");
    assert!(number(&status, "/denial_ring_full") > 0, "{status:#}");
    assert_eq!(lake.losses, [], "nothing was lost");
    assert_eq!(dropped(&lake, "target", "denied"), u64::from(MANY));
    for (local, remote, verdict) in [
        ("target", "denied", "dropped"),
        ("target", "allowed", "forwarded"),
        ("allowed", "target", "forwarded"),
    ] {
        let rows = lake.last().filter(|row| row.verdict == verdict);
        let rows = rows.filter(|row| row.local == local && row.remote == remote);
        assert_eq!(rows.count(), usize::from(MANY), "{local} and {remote}");
    }
}
