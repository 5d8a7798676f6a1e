//! Openings of connections: between pods, with nodes, Services and others.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use weir_policy::model::{Direction, Name, Protocol};
use weir_policy::tables::{Origin, ProtocolClass, Query};

const V4: [&str; 16] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "10.0.0.9",
    "10.0.0.254",
    "10.0.1.1",
    "10.9.9.9",
    "192.168.0.1",
    "192.168.0.2",
    "10.96.0.1",
    "10.96.0.2",
    "203.0.113.7",
    "203.0.113.9",
    "8.8.8.8",
];
const V6: [&str; 8] = [
    "fd00::1",
    "fd00::2",
    "fd00::3",
    "fd00::1:1",
    "fd01::1",
    "fd01::2",
    "fd96::1",
    "2001:db8::1",
];
const PORTS: [u16; 14] = [
    1, 53, 53, 54, 80, 80, 81, 119, 120, 8080, 8081, 30080, 30081, 65535,
];

/// Where Services may be: an IPv4 and an IPv6 address, and a port.
const FRONT_ENDS: [(&str, &str, u16); 8] = [
    ("10.96.0.1", "fd96::1", 80),
    ("10.96.0.1", "fd96::1", 81),
    ("10.96.0.2", "fd96::1", 80),
    ("10.96.0.2", "fd96::1", 81),
    ("203.0.113.7", "fd96::1", 80),
    ("203.0.113.9", "fd96::1", 81),
    ("192.168.0.1", "fd01::1", 30080),
    ("192.168.0.2", "fd01::2", 30081),
];

/// A packet of an endpoint that is picked when the endpoints are known.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    endpoint: Index,
    local: Index,
    /// An address of each family.
    remote: [&'static str; 2],
    direction: Direction,
    protocol: ProtocolClass,
    port: u16,
    origin: Origin,
}

/// So many packets.
pub(crate) fn packets(count: usize) -> impl Strategy<Value = Vec<Packet>> {
    let anywhere = (select(&V4[..]), select(&V6[..]), select(&PORTS[..]));
    let to = prop_oneof![5 => anywhere, 1 => select(&FRONT_ENDS[..])];
    let packet = (any::<[Index; 2]>(), direction(), protocol(), to).prop_map(
        |([endpoint, local], (direction, origin), protocol, (v4, v6, port))| Packet {
            endpoint,
            local,
            remote: [v4, v6],
            direction,
            protocol,
            port,
            origin,
        },
    );
    prop::collection::vec(packet, 1..=count)
}

fn direction() -> impl Strategy<Value = (Direction, Origin)> {
    let from = |origin| (Direction::Ingress, origin);
    prop_oneof![
        5 => Just((Direction::Egress, Origin::Forwarded)),
        4 => Just(from(Origin::Forwarded)),
        1 => Just(from(Origin::Local)),
        1 => Just(from(Origin::Hairpin)),
        1 => Just(from(Origin::AddressOnly)),
    ]
}

fn protocol() -> impl Strategy<Value = ProtocolClass> {
    prop_oneof![
        6 => Just(ProtocolClass::Named(Protocol::Tcp)),
        2 => Just(ProtocolClass::Named(Protocol::Udp)),
        1 => Just(ProtocolClass::Named(Protocol::Sctp)),
        1 => Just(ProtocolClass::Other),
    ]
}

/// What these packets ask, of endpoints with these addresses.
pub(crate) fn queries(packets: &[Packet], endpoints: &[(Name, Vec<IpAddr>)]) -> Vec<(Name, Query)> {
    let with_address: Vec<_> = (endpoints.iter())
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    if with_address.is_empty() {
        return Vec::new();
    }
    let query = |packet: &Packet| {
        let (name, addresses) = *packet.endpoint.get(&with_address);
        let local = *packet.local.get(addresses);
        let remote = packet.remote[usize::from(local.is_ipv6())];
        let query = Query {
            direction: packet.direction,
            local,
            remote: remote.parse().expect("an address"),
            protocol: packet.protocol,
            port: packet.port,
            origin: packet.origin,
        };
        (name.clone(), query)
    };
    packets.iter().map(query).collect()
}
