//! The address plan: which address, subnet and hardware address each part of a cluster has.
//!
//! Every cluster lives in namespaces of its own, so all clusters share one plan:
//!
//! | part | IPv4 | IPv6 |
//! |---|---|---|
//! | nodes, and the fabric's router (`.1`) | 172.18.0.0/24 | fd00:18::/64 |
//! | pods of node *n* (from 1) | 10.244.*n*.0/24 | fd00:10:244:*n*::/64 |
//! | Services | 10.96.0.0/16 | fd00:10:96::/112 |
//! | outside the cluster (`.10`) | 203.0.113.0/24 | 2001:db8:113::/64 |

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};

/// How many nodes the plan has room for.
pub(crate) const MAX_NODES: usize = 200;
/// How many pods one node has room for: the subnet without its network, gateway and broadcast addresses.
pub(crate) const MAX_PODS: usize = 253;
/// How many Services the plan has room for.
pub(crate) const MAX_SERVICES: usize = 240;

/// The pods' gateway where each pod has its own route. Nobody owns it: the node's end of the veth answers for it (proxy ARP).
pub(crate) const PTP_GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6: a link-local address, equal on the node's end of every veth.
pub(crate) const PTP_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The fabric's router in the nodes' subnet.
pub(crate) const ROUTER: Addresses = node_subnet(1);
/// The fabric's router in the subnet outside.
pub(crate) const EXTERNAL_ROUTER: Addresses = external_subnet(1);
/// The host outside the cluster.
pub(crate) const EXTERNAL: Addresses = external_subnet(10);

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// One address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

/// The pods' subnets on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodCidrs {
    /// IPv4.
    pub v4: Ipv4Net,
    /// IPv6.
    pub v6: Ipv6Net,
}

/// What a hardware address belongs to; it keeps the addresses of one cluster apart and readable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MacOf {
    Pod,
    PodGateway,
    Bridge,
    Node,
    External,
}

// === impl MacAddr ===

impl MacAddr {
    /// A locally administered address: `02:<kind>:<node>:<number>`.
    pub(crate) fn local(kind: MacOf, node: u8, number: u32) -> Self {
        let [_, high, middle, low] = number.to_be_bytes();
        Self([0x02, kind as u8, node, high, middle, low])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl plan ===

const fn node_subnet(host: u8) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(172, 18, 0, host),
        v6: Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, host as u16),
    }
}

const fn external_subnet(host: u8) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(203, 0, 113, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, host as u16),
    }
}

/// A node's own addresses; `node` counts from 1.
pub(crate) const fn node(node: u8) -> Addresses {
    node_subnet(node + 1)
}

/// The subnets of a node's pods.
pub(crate) fn pod_cidrs(node: u8) -> PodCidrs {
    let network = pod_subnet(node, 0);
    PodCidrs {
        v4: Ipv4Net::new_assert(network.v4, 24),
        v6: Ipv6Net::new_assert(network.v6, 64),
    }
}

/// The bridge's addresses: the gateway of a node's pods where they hang on a bridge.
pub(crate) const fn bridge(node: u8) -> Addresses {
    pod_subnet(node, 1)
}

/// The addresses of the pod in `slot` (from 0) of a node.
pub(crate) const fn pod(node: u8, slot: u8) -> Addresses {
    pod_subnet(node, slot + 2)
}

/// The addresses of the Service in `slot` (from 0).
pub(crate) const fn service(slot: u8) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(10, 96, 0, slot + 10),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, slot as u16 + 10),
    }
}

const fn pod_subnet(node: u8, host: u8) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(10, 244, node, host),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x244, node as u16, 0, 0, 0, host as u16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_of_a_full_cluster_is_inside_its_nodes_subnets_and_unlike_the_bridge() {
        for n in 1..=u8::try_from(MAX_NODES).unwrap() {
            let cidrs = pod_cidrs(n);
            for slot in 0..u8::try_from(MAX_PODS).unwrap() {
                let pod = pod(n, slot);
                assert!(cidrs.v4.contains(&pod.v4) && cidrs.v6.contains(&pod.v6));
                assert_ne!(pod, bridge(n));
                assert_ne!(pod.v4, cidrs.v4.broadcast());
            }
        }
    }
}
