//! The kernel programs' own log, from their statements to the lines that `tracing` gets.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use common::{eventually, options, skipped};
use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use weir_collector::kernel::{
    Flavour, Kernel, KernelError, LOG_TARGET, LogLevel, MapWrite, MapWriter as _, Options,
    PacketOrigin, Passed,
};
use weir_datapath::abi::{Direction, Endpoint, EndpointSets, identity, rule, set};

/// The loopback device's number: packets are run at it.
const LOOPBACK: u32 = 1;
/// The endpoint there.
const ENDPOINT: u32 = 7;
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const POD6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

/// Where the test's log goes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The programs with diagnostics, if there are any in this build.
fn kernel(level: LogLevel) -> Option<Kernel> {
    if skipped() {
        return None;
    }
    let with_log = Options {
        flavour: Flavour::Log(level),
        ..options()
    };
    match Kernel::private(&with_log) {
        Ok(kernel) => Some(kernel),
        Err(error @ KernelError::Object(_)) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A datagram from the peer's port to the pod.
fn datagram(from: u16) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
    udp(ethernet.ipv4(PEER.octets(), POD.octets(), 64), from)
}

/// The same in IPv6.
fn datagram6(from: u16) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
    udp(ethernet.ipv6(PEER6.octets(), POD6.octets(), 64), from)
}

fn udp(ip: PacketBuilderStep<IpHeaders>, from: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    ip.udp(from, 53).write(&mut frame, b"weir").unwrap();
    frame
}

/// Gives the loopback device an endpoint whose ingress has this set.
fn endpoint(kernel: &mut Kernel, ingress: u32) {
    let entry = Endpoint {
        ifindex: LOOPBACK,
        id: ENDPOINT,
        ipv4: u32::from_ne_bytes(POD.octets()),
        ipv6: POD6.octets(),
        nascent_quota: 16,
        flow_quota: 16,
        ..Endpoint::default()
    };
    let sets = EndpointSets {
        ingress,
        egress: set::OPEN,
    };
    let policy = &mut kernel.policy;
    policy.write(&MapWrite::Sets(LOOPBACK, sets)).unwrap();
    policy.write(&MapWrite::Endpoint(LOOPBACK, entry)).unwrap();
}

fn run(kernel: &Kernel, frame: &[u8]) -> Passed {
    let from = PacketOrigin::Forwarded(2);
    let runner = &kernel.runner;
    runner
        .run(Direction::Ingress, LOOPBACK, from, frame)
        .unwrap()
}

/// The verdict as a line ends with it.
fn refused(epoch: u32) -> String {
    format!(
        "protocol 17 set {} identity {} rule {} epoch {epoch} reason default_deny ",
        set::FIRST,
        identity::WORLD,
        rule::DEFAULT_DENY,
    )
}

/// Sends what the programs say to the lines, as `--kernel-log` does to stderr.
fn capture(lines: &Lines) {
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("off,{LOG_TARGET}=trace")))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
}

#[test]
fn kernel_log_says_which_packet_was_denied_and_why_and_leaves_out_what_is_below_its_level() {
    let (Some(mut debug), Some(mut trace)) = (kernel(LogLevel::Debug), kernel(LogLevel::Trace))
    else {
        return;
    };
    let lines = Lines::default();
    capture(&lines);
    let assert_seen = |text: &str| {
        let seen = eventually(|| lines.text().contains(text));
        assert!(seen, "{text}\nis not in\n{}", lines.text());
    };
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();

    let log = debug.log.take().unwrap();
    log.start(shutdown.clone()).unwrap();
    endpoint(&mut debug, set::OPEN);
    assert_eq!(run(&debug, &datagram(40_000)), Passed::Yes);
    endpoint(&mut debug, set::FIRST); // nothing is allowed in it
    assert_eq!(run(&debug, &datagram(40_001)), Passed::No);
    assert_eq!(run(&debug, &datagram6(40_001)), Passed::No);
    debug.policy.write(&MapWrite::Epoch(1)).unwrap();
    assert_eq!(run(&debug, &datagram(40_000)), Passed::No);
    assert_seen(&format!(
        "DEBUG weir_ebpf: denied: endpoint {ENDPOINT} ingress local {POD} port 53 remote {PEER} port 40001 {}",
        refused(0)
    ));
    assert_seen(&format!(
        "DEBUG weir_ebpf: denied: endpoint {ENDPOINT} ingress local {POD6} port 53 remote {PEER6} port 40001 {}",
        refused(0)
    ));
    assert_seen(&format!(
        "DEBUG weir_ebpf: judged differently: endpoint {ENDPOINT} ingress local {POD} port 53 remote {PEER} port 40000 {}",
        refused(1)
    ));
    let text = lines.text();
    assert!(
        !text.contains("flow opened"),
        "trace comes out at debug: {text}"
    );

    let log = trace.log.take().unwrap();
    log.start(shutdown).unwrap();
    endpoint(&mut trace, set::OPEN);
    assert_eq!(run(&trace, &datagram(40_000)), Passed::Yes);
    assert_seen("TRACE weir_ebpf: flow opened: ");
    assert_seen("reason not_isolated ");
}
