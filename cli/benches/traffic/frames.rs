//! Many new flows: frames made by hand, sent at a given rate.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_testkit::{FrameSender, MacAddr, Packet, Pod, TcpFlags, Transport};

use super::stage::NOWHERE;

/// Between two bursts.
const TICK: Duration = Duration::from_micros(200);
/// Addresses that nobody has: a `/15`.
const ADDRESSES: u64 = 1 << 17;

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) frames: u64,
    pub(crate) time: Duration,
}

impl Sent {
    /// Frames a second.
    pub(crate) fn rate(&self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64()
    }
}

/// Calls `send` with 0, 1, 2, ... at `rate` a second (without one: as fast as it goes) until it was called `count` times.
pub(crate) fn paced(rate: Option<u64>, count: u64, mut send: impl FnMut(u64)) -> Sent {
    let began = Instant::now();
    let mut frames = 0;
    while frames < count {
        let due = rate.map_or(count, |rate| {
            (began.elapsed().as_secs_f64() * rate as f64) as u64
        });
        while frames < due.min(count) {
            send(frames);
            frames += 1;
        }
        if rate.is_some() {
            sleep(TICK);
        }
    }
    Sent {
        frames,
        time: began.elapsed(),
    }
}

/// Pods that each send datagrams to nowhere, no two of them in the same flow.
pub(crate) struct Senders<'a> {
    pods: Vec<(&'a Pod, FrameSender)>,
    /// Flows sent so far.
    sent: u64,
}

impl<'a> Senders<'a> {
    pub(crate) fn open(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let open = |pod: &'a Pod| (pod, FrameSender::open(&pod.netns, "eth0").unwrap());
        Self {
            pods: pods.into_iter().map(open).collect(),
            sent: 0,
        }
    }

    /// Opens flows, in turn from every pod: source port, address and port differ.
    pub(crate) fn send(&mut self, rate: Option<u64>, count: u64) -> Sent {
        let first = self.sent;
        self.sent += count;
        paced(rate, count, |number| {
            let number = first + number;
            let (pod, sender) = &self.pods[(number % self.pods.len() as u64) as usize];
            let source_port = 10_000 + (number % 50_000) as u16;
            let datagram = Transport::udp(source_port, 1 + (number >> 17) as u16, b"?");
            let packet = Packet::v4(pod.addresses.v4, nowhere(number), datagram);
            let frame = packet.ethernet(pod.mac, pod.gateway_mac).frame();
            sender.send(&frame).unwrap();
        })
    }
}

/// Packets that no connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// A SYN; the answer goes nowhere.
    HalfOpen,
    /// A datagram that nobody answers.
    OneWayUdp,
    /// An ACK out of the blue.
    BareAck,
}

impl Flood {
    pub(crate) const ALL: [Self; 3] = [Self::HalfOpen, Self::OneWayUdp, Self::BareAck];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half-open SYNs",
            Self::OneWayUdp => "one-way UDP",
            Self::BareAck => "bare ACKs",
        }
    }

    /// The frame of the flood's `number`th flow, by a peer of its own.
    pub(crate) fn frame(self, number: u64, to: &Pod, port: u16, node: MacAddr) -> Vec<u8> {
        let source_port = 10_000 + (number % 50_000) as u16;
        let transport = match self {
            Self::HalfOpen => Transport::tcp(source_port, port, TcpFlags::SYN),
            Self::OneWayUdp => Transport::udp(source_port, port, b"?"),
            Self::BareAck => Transport::tcp(source_port, port, TcpFlags::ACK),
        };
        Packet::v4(nowhere(number), to.addresses.v4, transport)
            .ethernet(MacAddr([2, 0, 0, 0, 0, 1]), node)
            .frame()
    }
}

/// One address after the other, none of them anybody's.
fn nowhere(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(NOWHERE) + (number % ADDRESSES) as u32)
}
