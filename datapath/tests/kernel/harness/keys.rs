//! Keys, addresses and records as memory holds them.

use std::net::IpAddr;

use weir_datapath::abi::*;

use super::super::packets::socket;
use super::ENDPOINT;

/// A flow key of either family.
pub(in super::super) enum FlowKey {
    /// IPv4.
    V4(FlowKey4),
    /// IPv6.
    V6(FlowKey6),
}

impl FlowKey {
    /// From two socket addresses, e.g. `10.0.0.5:80` or `[fd00::5]:80`.
    pub(in super::super) fn new(local: &str, remote: &str, protocol: u8) -> Self {
        let (local, remote) = (socket(local), socket(remote));
        let endpoint_protocol = endpoint_protocol(ENDPOINT, protocol);
        let (local_port, remote_port) = (local.port(), remote.port());
        match (local.ip(), remote.ip()) {
            (IpAddr::V4(l), IpAddr::V4(r)) => Self::V4(FlowKey4 {
                remote: u32::from_ne_bytes(r.octets()),
                local: u32::from_ne_bytes(l.octets()),
                local_port,
                remote_port,
                endpoint_protocol,
            }),
            (IpAddr::V6(l), IpAddr::V6(r)) => Self::V6(FlowKey6 {
                remote: r.octets(),
                local: l.octets(),
                local_port,
                remote_port,
                endpoint_protocol,
            }),
            _ => panic!("addresses of two families"),
        }
    }
}

/// A key's memory.
pub(in super::super) fn flow_key4_bytes(key: &FlowKey4) -> Vec<u8> {
    let mut bytes = [key.remote.to_ne_bytes(), key.local.to_ne_bytes()].concat();
    bytes.extend([key.local_port.to_ne_bytes(), key.remote_port.to_ne_bytes()].concat());
    bytes.extend(key.endpoint_protocol.to_ne_bytes());
    bytes
}

/// A key's memory.
pub(in super::super) fn flow_key6_bytes(key: &FlowKey6) -> Vec<u8> {
    let mut bytes = [key.remote, key.local].concat();
    bytes.extend([key.local_port.to_ne_bytes(), key.remote_port.to_ne_bytes()].concat());
    bytes.extend(key.endpoint_protocol.to_ne_bytes());
    bytes
}

/// A key's memory.
pub(in super::super) fn denial_key4_bytes(key: &DenialKey4) -> Vec<u8> {
    let mut bytes = [key.remote.to_ne_bytes(), key.local.to_ne_bytes()].concat();
    bytes.extend(key.port.to_ne_bytes());
    bytes.extend([key.reason, key.direction]);
    bytes.extend(
        [
            key.endpoint_protocol.to_ne_bytes(),
            key.ethertype.to_ne_bytes(),
        ]
        .concat(),
    );
    bytes
}

/// An IPv4 address as keys hold it.
pub(in super::super) fn ipv4(address: &str) -> u32 {
    u32::from_ne_bytes(address.parse::<std::net::Ipv4Addr>().unwrap().octets())
}

/// An IPv6 address as keys hold it.
pub(in super::super) fn ipv6(address: &str) -> [u8; 16] {
    address.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

/// A ring record from its bytes.
pub(super) fn event(bytes: &[u8]) -> Event {
    let u16_at = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let tally = |at: usize| Tally {
        packets: u64_at(at),
        bytes: u64_at(at + 8),
    };
    assert_eq!(bytes.len(), size_of::<Event>());
    Event {
        kind: bytes[0],
        direction: bytes[1],
        family: bytes[2],
        protocol: bytes[3],
        reason: bytes[4],
        verdict: bytes[5],
        tcp_flags: u16_at(6),
        endpoint: u32_at(8),
        set: u32_at(12),
        rule: u32_at(16),
        epoch: u32_at(20),
        identity: u32_at(24),
        state: u32_at(28),
        local_port: u16_at(32),
        remote_port: u16_at(34),
        ethertype: u32_at(36),
        local: bytes[40..56].try_into().unwrap(),
        remote: bytes[56..72].try_into().unwrap(),
        serial: u64_at(72),
        time_ns: u64_at(80),
        last_seen: u64_at(88),
        egress: tally(96),
        ingress: tally(112),
        extra: [u64_at(128), u64_at(136)],
        dropped: [tally(144), tally(160)],
    }
}
