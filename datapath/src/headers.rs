//! Headers as they stand on the wire; integers in network byte order.

use crate::address::Address6;

macro_rules! plain {
    ($($t:ty = $size:literal),* $(,)?) => {$(
        const _: () = assert!(size_of::<$t>() == $size);
        // SAFETY: `#[repr(C)]` integers that sum to the asserted size: no padding, any bytes are valid.
        #[expect(unsafe_code, reason = "plain data read from packets")]
        unsafe impl $crate::packet::Plain for $t {}
    )*};
}
pub(crate) use plain;

/// Ethernet II.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ethernet {
    /// Destination MAC in three parts.
    pub destination: [u16; 3],
    /// Source MAC in three parts.
    pub source: [u16; 3],
    /// EtherType.
    pub ethertype: u16,
}

/// IPv4 without options (RFC 791).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv4 {
    /// Version and header length.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of header and payload.
    pub total_length: u16,
    /// Identification.
    pub identification: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: u16,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
}

/// IPv6 (RFC 8200).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv6 {
    /// Version, traffic class, flow label.
    pub version: u32,
    /// Length of all that follows this header.
    pub payload_length: u16,
    /// Next header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Address6,
    /// Destination address.
    pub destination: Address6,
}

/// The start of an IPv6 extension header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Extension {
    /// Next header.
    pub next_header: u8,
    /// Length; its unit depends on the kind.
    pub length: u8,
}

/// IPv6 fragment header (RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fragment6 {
    /// Next header.
    pub next_header: u8,
    /// Reserved.
    pub reserved: u8,
    /// Offset in 8-byte units (13 bits), 2 reserved bits, M.
    pub offset: u16,
    /// Identification.
    pub identification: u32,
}

/// The first 8 bytes of UDP and SCTP, ports first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// UDP: length and checksum; SCTP: verification tag.
    pub rest: u32,
}

/// TCP up to its flags (RFC 9293).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence and acknowledgment number in 16-bit parts.
    pub numbers: [u16; 4],
    /// Data offset and reserved bits.
    pub offset: u8,
    /// Flags.
    pub flags: u8,
}

/// ICMP for IPv4 (RFC 792) and IPv6 (RFC 4443).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: u16,
    /// Identifier of a query.
    pub identifier: u16,
    /// Sequence number of a query.
    pub sequence: u16,
}

/// ARP for IPv4 over Ethernet (RFC 826).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arp {
    /// Hardware type.
    pub hardware: u16,
    /// Protocol type.
    pub protocol: u16,
    /// Address lengths.
    pub lengths: u16,
    /// Operation.
    pub operation: u16,
    /// Sender hardware address.
    pub sender_mac: [u16; 3],
    /// Sender protocol address, halves.
    pub sender: [u16; 2],
}

plain! {
    Ethernet = 14,
    Ipv4 = 20,
    Ipv6 = 40,
    Extension = 2,
    Fragment6 = 8,
    Ports = 8,
    Tcp = 14,
    Icmp = 8,
    Arp = 18,
    Address6 = 16,
}
