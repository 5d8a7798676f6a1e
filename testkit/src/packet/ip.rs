//! IPv4 and IPv6 headers. RFC 791, RFC 8200.

use super::{Network, Packet, transport::checksum};
use crate::Family;

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, `units` (1 to 32) times 8 bytes long.
    HopByHop {
        /// Its length in units of 8 bytes.
        units: u8,
    },
    /// A routing header of an experimental type (253) with no segment left, as long as `units` (1 to 32) say.
    Routing {
        /// Its length in units of 8 bytes.
        units: u8,
    },
    /// A fragment header.
    Fragment {
        /// The offset in units of 8 bytes.
        offset_units: u16,
        /// Whether more fragments follow.
        more: bool,
        /// What holds the fragments together.
        identification: u32,
    },
    /// An authentication header with a 12-byte value of zeros, 24 bytes long (RFC 4302).
    Authentication,
    /// Destination options, `units` (1 to 32) times 8 bytes long.
    DestinationOptions {
        /// Its length in units of 8 bytes.
        units: u8,
    },
}

/// Option type 0x1e is for experiments; its two upper bits say: skip it if you do not know it (RFC 4727).
const SKIPPABLE_OPTION: u8 = 0x1e;

// === impl Extension ===

impl Extension {
    fn protocol(self) -> u8 {
        match self {
            Self::HopByHop { .. } => 0,
            Self::Routing { .. } => 43,
            Self::Fragment { .. } => 44,
            Self::Authentication => 51,
            Self::DestinationOptions { .. } => 60,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop { units } | Self::DestinationOptions { units } => {
                let mut bytes = sized(next, units);
                let filler = u8::try_from(bytes.len() - 4).expect("at most 32 units of 8 bytes");
                bytes[2] = SKIPPABLE_OPTION;
                bytes[3] = filler;
                bytes
            }
            Self::Routing { units } => {
                let mut bytes = sized(next, units);
                bytes[2] = 253;
                bytes
            }
            Self::Fragment {
                offset_units,
                more,
                identification,
            } => {
                let mut bytes = vec![next, 0];
                bytes.extend((offset_units << 3 | u16::from(more)).to_be_bytes());
                bytes.extend(identification.to_be_bytes());
                bytes
            }
            // Its length counts units of 4 bytes beyond the first two.
            Self::Authentication => {
                let mut bytes = vec![next, 24 / 4 - 2];
                bytes.resize(24, 0);
                bytes
            }
        }
    }
}

/// A zeroed header of `units` times 8 bytes; its length field counts the units beyond the first.
fn sized(next: u8, units: u8) -> Vec<u8> {
    let units = units.clamp(1, 32);
    let mut bytes = vec![next, units - 1];
    bytes.resize(usize::from(units) * 8, 0);
    bytes
}

/// Options filled up to whole words; what exceeds 40 bytes is cut.
pub(super) fn padded_options(bytes: &[u8]) -> Vec<u8> {
    let mut options = bytes[..bytes.len().min(40)].to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

// === impl Packet ===

impl Packet {
    pub(super) fn v4_packet(&self, payload: &[u8], offset_units: u16, more: bool) -> Vec<u8> {
        let Network::V4 {
            source,
            destination,
            options,
        } = &self.network
        else {
            unreachable!("called for IPv4 packets only");
        };
        let header_len = 20 + options.len();
        let words = u8::try_from(header_len / 4).expect("options are at most 40 bytes");
        let mut bytes = vec![0x40 | words, 0];
        bytes.extend(length(header_len + payload.len()));
        bytes.extend(self.identification.to_be_bytes().into_iter().skip(2));
        bytes.extend((u16::from(more) << 13 | offset_units).to_be_bytes());
        bytes.extend([self.hops, self.transport.protocol(Family::V4), 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(options);
        let sum = checksum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// `last` are extension headers behind the packet's own.
    pub(super) fn v6_packet(&self, payload: &[u8], last: &[Extension]) -> Vec<u8> {
        let Network::V6 {
            source,
            destination,
            extensions,
        } = &self.network
        else {
            unreachable!("called for IPv6 packets only");
        };
        let mut next = self.transport.protocol(Family::V6);
        let mut headers: Vec<Vec<u8>> = Vec::new();
        for extension in extensions.iter().chain(last).rev() {
            headers.push(extension.bytes(next));
            next = extension.protocol();
        }
        let headers: Vec<u8> = headers.into_iter().rev().flatten().collect();
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length(headers.len() + payload.len()));
        bytes.extend([next, self.hops]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(headers);
        bytes.extend(payload);
        bytes
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes)
        .expect("a packet that fits into 65535 bytes")
        .to_be_bytes()
}
