//! Frames made by hand: well formed unless their caller cuts or changes the bytes afterwards.

mod ip;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ip::Extension;
pub use transport::{Tcp, TcpFlags, Transport};

use crate::MacAddr;

/// A packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Packet {
    source_mac: MacAddr,
    destination_mac: MacAddr,
    network: Network,
    hops: u8,
    identification: u32,
    transport: Transport,
}

/// The network header, with what only one family has.
#[derive(Clone, Debug)]
enum Network {
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
        options: Vec<u8>,
    },
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        extensions: Vec<Extension>,
    },
}

// === impl Packet ===

impl Packet {
    /// An IPv4 packet.
    pub fn v4(source: Ipv4Addr, destination: Ipv4Addr, transport: Transport) -> Self {
        Self::new(
            Network::V4 {
                source,
                destination,
                options: Vec::new(),
            },
            transport,
        )
    }

    /// An IPv6 packet.
    pub fn v6(source: Ipv6Addr, destination: Ipv6Addr, transport: Transport) -> Self {
        Self::new(
            Network::V6 {
                source,
                destination,
                extensions: Vec::new(),
            },
            transport,
        )
    }

    fn new(network: Network, transport: Transport) -> Self {
        Self {
            source_mac: MacAddr([0; 6]),
            destination_mac: MacAddr([0; 6]),
            network,
            hops: 64,
            identification: 1,
            transport,
        }
    }

    /// Sets the hardware addresses, all zero unless set.
    pub fn ethernet(mut self, source: MacAddr, destination: MacAddr) -> Self {
        self.source_mac = source;
        self.destination_mac = destination;
        self
    }

    /// Sets the time to live or hop limit, 64 unless set.
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Sets the number that holds the fragments of a packet together (IPv4 takes its lower 16 bits).
    pub fn identification(mut self, identification: u32) -> Self {
        self.identification = identification;
        self
    }

    /// Gives an IPv4 packet options: at most 40 bytes, filled up with end-of-options. An IPv6 packet has none and is left as it is.
    pub fn ipv4_options(mut self, bytes: &[u8]) -> Self {
        if let Network::V4 { options, .. } = &mut self.network {
            *options = ip::padded_options(bytes);
        }
        self
    }

    /// Adds an extension header behind those there are. An IPv4 packet has none and is left as it is.
    pub fn extension(mut self, extension: Extension) -> Self {
        if let Network::V6 { extensions, .. } = &mut self.network {
            extensions.push(extension);
        }
        self
    }

    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        self.framed(&self.ip_bytes())
    }

    /// The packet without its Ethernet header, as an ICMP error quotes it.
    pub fn ip_bytes(&self) -> Vec<u8> {
        let payload = self.transport_bytes();
        match &self.network {
            Network::V4 { .. } => self.v4_packet(&payload, 0, false),
            Network::V6 { .. } => self.v6_packet(&payload, &[]),
        }
    }

    /// The frames of the packet cut into fragments of `size` bytes of transport header and payload each (the last has the rest).
    /// `size` is rounded down to a multiple of 8, at least 8. IPv6 extension headers precede the fragment header in each.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let size = (size / 8 * 8).max(8);
        let payload = self.transport_bytes();
        let pieces: Vec<&[u8]> = payload.chunks(size).collect();
        let cut = |(n, piece): (usize, &&[u8])| {
            let more = n + 1 < pieces.len();
            let units = u16::try_from(n * size / 8)
                .expect("an IP payload has fewer than 8192 units of 8 bytes");
            let packet = match &self.network {
                Network::V4 { .. } => self.v4_packet(piece, units, more),
                Network::V6 { .. } => {
                    let fragment = Extension::Fragment {
                        offset_units: units,
                        more,
                        identification: self.identification,
                    };
                    self.v6_packet(piece, &[fragment])
                }
            };
            self.framed(&packet)
        };
        pieces.iter().enumerate().map(cut).collect()
    }

    fn framed(&self, packet: &[u8]) -> Vec<u8> {
        let ethertype: u16 = match self.network {
            Network::V4 { .. } => 0x0800,
            Network::V6 { .. } => 0x86dd,
        };
        let mut frame = Vec::with_capacity(14 + packet.len());
        frame.extend(self.destination_mac.0);
        frame.extend(self.source_mac.0);
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) = match &self.network {
            Network::V4 {
                source,
                destination,
                ..
            } => ((*source).into(), (*destination).into()),
            Network::V6 {
                source,
                destination,
                ..
            } => ((*source).into(), (*destination).into()),
        };
        self.transport.bytes(source, destination)
    }
}

#[cfg(test)]
mod tests;
