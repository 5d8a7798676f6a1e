//! Transport headers and their checksums. RFC 9293 (TCP), 768 (UDP), 9260 (SCTP), 792 and 4443 (ICMP).

use std::{net::IpAddr, ops::BitOr};

use crate::Family;

/// What a packet carries.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TCP without options.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Payload.
        payload: Vec<u8>,
    },
    /// SCTP with verification tag 0.
    Sctp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// The chunks.
        chunks: Vec<u8>,
    },
    /// ICMP in an IPv4 packet, ICMPv6 in an IPv6 packet.
    Icmp {
        /// Type.
        icmp_type: u8,
        /// Code.
        code: u8,
        /// The second word of the header: identifier and sequence number of an echo, unused or MTU of an error.
        word: [u8; 4],
        /// What follows the header: echo data, or the packet that an error quotes.
        payload: Vec<u8>,
    },
    /// Any protocol number with any bytes.
    Other {
        /// The number.
        protocol: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// A TCP segment.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Payload.
    pub payload: Vec<u8>,
}

/// The flag bits of TCP, to be joined with `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

/// INIT with a receive window, one stream each way and no options: 20 bytes (RFC 9260, 3.3.2).
const SCTP_INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];

// === impl TcpFlags ===

impl TcpFlags {
    /// FIN.
    pub const FIN: Self = Self(0x01);
    /// SYN.
    pub const SYN: Self = Self(0x02);
    /// RST.
    pub const RST: Self = Self(0x04);
    /// PSH.
    pub const PSH: Self = Self(0x08);
    /// ACK.
    pub const ACK: Self = Self(0x10);
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

// === impl Transport ===

impl Transport {
    /// A TCP segment without payload, sequence number 1.
    pub fn tcp(source_port: u16, destination_port: u16, flags: TcpFlags) -> Self {
        Self::Tcp(Tcp {
            source_port,
            destination_port,
            sequence: 1,
            flags,
            ..Tcp::default()
        })
    }

    /// A UDP datagram.
    pub fn udp(source_port: u16, destination_port: u16, payload: &[u8]) -> Self {
        Self::Udp {
            source_port,
            destination_port,
            payload: payload.to_vec(),
        }
    }

    /// An SCTP packet with an INIT chunk.
    pub fn sctp_init(source_port: u16, destination_port: u16) -> Self {
        Self::Sctp {
            source_port,
            destination_port,
            chunks: SCTP_INIT.to_vec(),
        }
    }

    pub(super) fn protocol(&self, family: Family) -> u8 {
        match (self, family) {
            (Self::Icmp { .. }, Family::V4) => 1,
            (Self::Icmp { .. }, Family::V6) => 58,
            (Self::Tcp(_), _) => 6,
            (Self::Udp { .. }, _) => 17,
            (Self::Sctp { .. }, _) => 132,
            (Self::Other { protocol, .. }, _) => *protocol,
        }
    }

    /// Header, payload and checksum; the addresses are part of most checksums.
    pub(super) fn bytes(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        match self {
            Self::Tcp(tcp) => summed(tcp.bytes(), 16, &pseudo_header(6, source, destination)),
            Self::Udp {
                source_port,
                destination_port,
                payload,
            } => {
                let length = u16::try_from(8 + payload.len())
                    .expect("a datagram that fits into 65535 bytes");
                let mut bytes = ports(*source_port, *destination_port);
                bytes.extend(length.to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                let mut bytes = summed(bytes, 6, &pseudo_header(17, source, destination));
                // Zero would say that there is no checksum (RFC 768).
                if bytes[6..8] == [0, 0] {
                    bytes[6..8].copy_from_slice(&[0xff, 0xff]);
                }
                bytes
            }
            Self::Sctp {
                source_port,
                destination_port,
                chunks,
            } => {
                let mut bytes = ports(*source_port, *destination_port);
                bytes.extend([0; 8]);
                bytes.extend(chunks);
                let sum = crc32c(&bytes);
                bytes[8..12].copy_from_slice(&sum.to_le_bytes());
                bytes
            }
            Self::Icmp {
                icmp_type,
                code,
                word,
                payload,
            } => {
                let mut bytes = vec![*icmp_type, *code, 0, 0];
                bytes.extend(word);
                bytes.extend(payload);
                let pseudo_header = match source {
                    IpAddr::V4(_) => Vec::new(),
                    IpAddr::V6(_) => pseudo_header(58, source, destination),
                };
                summed(bytes, 2, &pseudo_header)
            }
            Self::Other { bytes, .. } => bytes.clone(),
        }
    }
}

// === impl Tcp ===

impl Tcp {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = ports(self.source_port, self.destination_port);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgment.to_be_bytes());
        bytes.extend([5 << 4, self.flags.0]);
        bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(&self.payload);
        bytes
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// The checksum's share of the network header, without the length, which [`summed`] adds.
fn pseudo_header(protocol: u8, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0, protocol]);
    bytes
}

/// Puts the checksum at `offset` of a segment whose field there is zero.
fn summed(mut segment: Vec<u8>, offset: usize, pseudo_header: &[u8]) -> Vec<u8> {
    let length = u16::try_from(segment.len())
        .expect("a segment that fits into 65535 bytes")
        .to_be_bytes();
    let sum = if pseudo_header.is_empty() {
        checksum(&[&segment])
    } else {
        checksum(&[pseudo_header, &length, &segment])
    };
    segment[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The Internet checksum (RFC 1071) of parts of which all but the last have an even length.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for word in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// CRC-32C, bit by bit: SCTP packets are made one at a time here.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = crc & 1;
            (crc >> 1) ^ (carry * 0x82f6_3b78)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_its_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
