//! The same cluster in both families.

use weir_datapath::abi::{IPPROTO_ICMP, IPPROTO_ICMPV6};

use super::{POD4, POD6};

/// Addresses of one family.
pub(in super::super) struct Side {
    /// 4 or 6.
    pub(in super::super) family: u8,
    /// The endpoint's.
    pub(in super::super) pod: &'static str,
    /// Another pod's.
    pub(in super::super) peer: &'static str,
    /// A network that the peer is in, and its length.
    pub(in super::super) network: (&'static str, u32),
    /// The node's own.
    pub(in super::super) node: &'static str,
    /// A Service's.
    pub(in super::super) service: &'static str,
    /// Nobody's.
    pub(in super::super) world: &'static str,
    /// ICMP of this family: protocol, echo request, echo reply.
    pub(in super::super) echo: (u8, u8, u8),
}

impl Side {
    /// A socket address.
    pub(in super::super) fn at(&self, address: &str, port: u16) -> String {
        match self.family {
            4 => format!("{address}:{port}"),
            _ => format!("[{address}]:{port}"),
        }
    }

    /// The pod's.
    pub(in super::super) fn pod(&self, port: u16) -> String {
        self.at(self.pod, port)
    }

    /// The peer's.
    pub(in super::super) fn peer(&self, port: u16) -> String {
        self.at(self.peer, port)
    }
}

/// Both families.
pub(in super::super) const SIDES: [Side; 2] = [
    Side {
        family: 4,
        pod: POD4,
        peer: "10.1.0.1",
        network: ("10.1.0.0", 16),
        node: "192.168.0.1",
        service: "10.96.0.1",
        world: "1.1.1.1",
        echo: (IPPROTO_ICMP, 8, 0),
    },
    Side {
        family: 6,
        pod: POD6,
        peer: "fd01::1",
        network: ("fd01::", 64),
        node: "fdc0::1",
        service: "fd96::1",
        world: "2606:4700::1111",
        echo: (IPPROTO_ICMPV6, 128, 129),
    },
];
