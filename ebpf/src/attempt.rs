//! A parsed packet as the endpoint sees it: its flow key and what else the verdict depends on.

use crate::context::Context;
use crate::family::{DenialKind, Family, FlowKey};
use weir_datapath::abi::{Direction, IPPROTO_TCP, Reason, endpoint_protocol};
use weir_datapath::packet::Parsed;
use weir_datapath::state::{self, Role};

/// A packet with its flow key.
pub(crate) struct Attempt<F: Family> {
    pub(crate) key: F::FlowKey,
    /// Destination port; for ICMP `type << 8 | code`.
    pub(crate) port: u16,
    pub(crate) tcp_flags: u16,
    /// EtherType if it is no IP packet, else 0.
    pub(crate) ethertype: u32,
}

impl<F: Family> Attempt<F> {
    /// A packet of a protocol with ports, or with none at all.
    #[inline(always)]
    pub(crate) fn new(direction: Direction, endpoint: u32, parsed: &Parsed<F::Address>) -> Self {
        let protocol = endpoint_protocol(endpoint, parsed.protocol);
        let (source, destination) = (parsed.source_port, parsed.destination_port);
        let key = match direction {
            Direction::Egress => F::FlowKey::new(
                parsed.source,
                parsed.destination,
                source,
                destination,
                protocol,
            ),
            Direction::Ingress => F::FlowKey::new(
                parsed.destination,
                parsed.source,
                destination,
                source,
                protocol,
            ),
        };
        Self {
            key,
            port: destination,
            tcp_flags: u16::from(parsed.tcp_flags),
            ethertype: 0,
        }
    }

    /// Becomes the attempt of this packet.
    #[inline(always)]
    pub(crate) fn set(&mut self, cx: &Context, parsed: &Parsed<F::Address>) {
        *self = Self::new(cx.direction, cx.endpoint.id, parsed);
    }

    /// A packet whose ports are not those of its header: ICMP.
    #[inline(always)]
    pub(crate) fn with_ports(
        direction: Direction,
        endpoint: u32,
        parsed: &Parsed<F::Address>,
        local_port: u16,
        remote_port: u16,
    ) -> Self {
        let protocol = endpoint_protocol(endpoint, parsed.protocol);
        let (local, remote) = match direction {
            Direction::Egress => (parsed.source, parsed.destination),
            Direction::Ingress => (parsed.destination, parsed.source),
        };
        let key = F::FlowKey::new(local, remote, local_port, remote_port, protocol);
        Self {
            key,
            port: parsed.destination_port,
            tcp_flags: 0,
            ethertype: 0,
        }
    }

    /// Something that could not be parsed, or is no IP packet.
    #[inline(always)]
    pub(crate) fn unparsed(endpoint: u32, local: F::Address, ethertype: u32) -> Self {
        let key = F::FlowKey::new(
            local,
            F::Address::default(),
            0,
            0,
            endpoint_protocol(endpoint, 0),
        );
        Self {
            key,
            port: 0,
            tcp_flags: 0,
            ethertype,
        }
    }

    /// No packet, only a flow.
    #[inline(always)]
    pub(crate) fn of_key(key: F::FlowKey) -> Self {
        Self {
            key,
            port: 0,
            tcp_flags: 0,
            ethertype: 0,
        }
    }

    /// Its TCP flags.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u8 {
        self.tcp_flags as u8
    }

    /// What it is to the opening of connections.
    #[inline(always)]
    pub(crate) fn role(&self) -> Role {
        state::role(self.key.protocol(), self.flags())
    }

    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        self.key.protocol() == IPPROTO_TCP
    }

    /// The key under which its refusals are counted.
    #[inline(always)]
    pub(crate) fn denial_key(&self, cx: &Context, reason: Reason) -> F::DenialKey {
        let kind = DenialKind {
            port: self.port,
            reason: reason as u8,
            direction: cx.direction as u8,
            endpoint_protocol: endpoint_protocol(cx.endpoint.id, self.key.protocol()),
            ethertype: self.ethertype,
        };
        F::denial_key(self.key.local(), self.key.remote(), kind)
    }

    /// The port of the side that sent the packet.
    #[inline(always)]
    pub(crate) fn source_port(&self, direction: Direction) -> u16 {
        match direction {
            Direction::Egress => self.key.local_port(),
            Direction::Ingress => self.key.remote_port(),
        }
    }
}
