//! A kernel entry's key, whatever the table and family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_datapath::abi::{self, DenialKey4, DenialKey6, FlowKey4, FlowKey6};
use weir_flow::Icmp;

/// Names one entry of a flow or denial table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKey {
    /// In `FLOWS4`.
    Flow4(FlowKey4),
    /// In `FLOWS6`.
    Flow6(FlowKey6),
    /// In `DENIALS4`.
    Denial4(DenialKey4),
    /// In `DENIALS6`.
    Denial6(DenialKey6),
}

/// The addresses and ports of an entry, as its endpoint sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Endpoint number.
    pub endpoint: u32,
    /// IP protocol.
    pub protocol: u8,
    /// The pod's address.
    pub local_ip: IpAddr,
    /// The other side's.
    pub remote_ip: IpAddr,
    /// The pod's port, 0 without ports.
    pub local_port: u16,
    /// The other side's port, 0 without ports.
    pub remote_port: u16,
    /// ICMP type and code.
    pub icmp: Option<Icmp>,
    /// Ethernet type if the packet was no IP packet.
    pub ethertype: Option<u16>,
}

impl EntryKey {
    /// The endpoint number.
    pub fn endpoint(&self) -> u32 {
        let packed = match self {
            Self::Flow4(key) => key.endpoint_protocol,
            Self::Flow6(key) => key.endpoint_protocol,
            Self::Denial4(key) => key.endpoint_protocol,
            Self::Denial6(key) => key.endpoint_protocol,
        };
        packed >> 8
    }

    /// Whether this is an endpoint's pre-made overflow entry, which lives as long as the endpoint.
    pub fn is_overflow(&self) -> bool {
        match self {
            Self::Denial4(key) => {
                key.remote == 0
                    && key.local == 0
                    && key.port == 0
                    && key.endpoint_protocol & 0xff == 0
                    && key.ethertype == 0
            }
            Self::Denial6(key) => {
                key.remote == [0; 16]
                    && key.local == [0; 16]
                    && key.port == 0
                    && key.endpoint_protocol & 0xff == 0
                    && key.ethertype == 0
            }
            Self::Flow4(_) | Self::Flow6(_) => false,
        }
    }

    /// Addresses and ports. A denial has no ephemeral port: the source's is 0.
    pub fn tuple(&self) -> Tuple {
        match self {
            Self::Flow4(key) => {
                let (local, remote) = (v4(key.local), v4(key.remote));
                tuple(
                    key.endpoint_protocol,
                    local,
                    remote,
                    key.local_port,
                    key.remote_port,
                )
            }
            Self::Flow6(key) => {
                let (local, remote) = (v6(key.local), v6(key.remote));
                tuple(
                    key.endpoint_protocol,
                    local,
                    remote,
                    key.local_port,
                    key.remote_port,
                )
            }
            Self::Denial4(key) => {
                let ports = denial_ports(key.direction, key.port);
                let tuple = tuple(
                    key.endpoint_protocol,
                    v4(key.local),
                    v4(key.remote),
                    ports.0,
                    ports.1,
                );
                Tuple {
                    ethertype: ethertype(key.ethertype),
                    ..tuple
                }
            }
            Self::Denial6(key) => {
                let ports = denial_ports(key.direction, key.port);
                let tuple = tuple(
                    key.endpoint_protocol,
                    v6(key.local),
                    v6(key.remote),
                    ports.0,
                    ports.1,
                );
                Tuple {
                    ethertype: ethertype(key.ethertype),
                    ..tuple
                }
            }
        }
    }
}

/// An IPv4 address from its four octets in memory order.
pub fn v4(address: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes()))
}

fn v6(address: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address))
}

/// The addresses of a ring event of either family.
pub fn event_address(family: u8, bytes: [u8; 16]) -> IpAddr {
    match family {
        6 => v6(bytes),
        _ => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
    }
}

fn ethertype(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// A denial's port is the destination's: the pod's for ingress, the other side's for egress.
fn denial_ports(direction: u8, port: u16) -> (u16, u16) {
    if direction == abi::Direction::Ingress as u8 {
        (port, 0)
    } else {
        (0, port)
    }
}

fn tuple(
    endpoint_protocol: u32,
    local_ip: IpAddr,
    remote_ip: IpAddr,
    local: u16,
    remote: u16,
) -> Tuple {
    let protocol = (endpoint_protocol & 0xff) as u8;
    let is_icmp = matches!(protocol, abi::IPPROTO_ICMP | abi::IPPROTO_ICMPV6);
    let type_code = if remote != 0 { remote } else { local };
    Tuple {
        endpoint: endpoint_protocol >> 8,
        protocol,
        local_ip,
        remote_ip,
        local_port: if is_icmp { 0 } else { local },
        remote_port: if is_icmp { 0 } else { remote },
        icmp: is_icmp.then_some(Icmp {
            kind: (type_code >> 8) as u8,
            code: type_code as u8,
        }),
        ethertype: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_destination_port_on_the_right_side() {
        let key = DenialKey4 {
            remote: u32::from_ne_bytes([10, 0, 0, 2]),
            local: u32::from_ne_bytes([10, 0, 0, 1]),
            port: 1234,
            direction: abi::Direction::Ingress as u8,
            endpoint_protocol: abi::endpoint_protocol(7, 6),
            ..DenialKey4::default()
        };
        let tuple = EntryKey::Denial4(key).tuple();
        assert_eq!(
            (tuple.endpoint, tuple.local_port, tuple.remote_port),
            (7, 1234, 0)
        );
        assert_eq!(tuple.remote_ip.to_string(), "10.0.0.2");
    }
}
