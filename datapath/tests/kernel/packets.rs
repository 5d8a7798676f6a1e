//! Packets for the programs.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

/// An Ethernet frame.
#[derive(Clone, Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// Any bytes.
    pub(super) fn raw(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same with some bytes changed.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.0);
        self
    }

    /// Offset of the transport header of a packet without options or extension headers.
    pub(super) fn transport(&self) -> usize {
        if self.0[12] == 0x08 { 34 } else { 54 }
    }
}

/// A socket address.
pub(super) fn socket(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no socket address"))
}

const MAC: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn ip(
    source: &SocketAddr,
    destination: &SocketAddr,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(MAC.0, MAC.1);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ethernet.ipv4(s.octets(), d.octets(), 64),
        (IpAddr::V6(s), IpAddr::V6(d)) => ethernet.ipv6(s.octets(), d.octets(), 64),
        _ => panic!("addresses of two families"),
    }
}

/// A TCP packet; flags as letters: `S`, `SA`, `A`, `F`, `R`.
pub(super) fn tcp(source: &str, destination: &str, flags: &str) -> Frame {
    let (source, destination) = (socket(source), socket(destination));
    let mut step = ip(&source, &destination).tcp(source.port(), destination.port(), 1, 1000);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'A' => step.ack(1),
            'F' => step.fin(),
            'R' => step.rst(),
            'P' => step.psh(),
            other => panic!("no flag {other}"),
        };
    }
    let mut frame = Vec::new();
    step.write(&mut frame, &[0; 10]).unwrap();
    Frame(frame)
}

/// A UDP packet.
pub(super) fn udp(source: &str, destination: &str) -> Frame {
    let (source, destination) = (socket(source), socket(destination));
    let mut frame = Vec::new();
    ip(&source, &destination)
        .udp(source.port(), destination.port())
        .write(&mut frame, &[0; 10])
        .unwrap();
    Frame(frame)
}

/// A packet of any protocol with this payload.
pub(super) fn other(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Frame {
    let any = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
    let mut frame = Vec::new();
    ip(&any(source), &any(destination))
        .write(&mut frame, etherparse::IpNumber(protocol), payload)
        .unwrap();
    Frame(frame)
}
