//! How the logic reads a packet, and what it makes of one.

use crate::abi::Reason;

/// A header: plain integers in network byte order, every bit pattern valid.
///
/// # Safety
/// The type is `#[repr(C)]`, has no padding, and any bytes are a valid value.
#[expect(
    unsafe_code,
    reason = "a promise about plain data, made by the header types"
)]
pub unsafe trait Plain: Copy {}

/// A packet from its Ethernet header on. In the kernel this is direct packet access, on the host a byte slice.
pub trait Packet {
    /// Length in bytes, including what cannot be read directly (a non-linear skb).
    fn length(&self) -> usize;
    /// The `T` at this offset, or `None` if it is not (directly) there.
    fn read<T: Plain>(&self, at: usize) -> Option<T>;
}

impl Packet for [u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn read<T: Plain>(&self, at: usize) -> Option<T> {
        let bytes = self.get(at..at.checked_add(size_of::<T>())?)?;
        let header = bytes.as_ptr().cast::<T>();
        #[expect(
            unsafe_code,
            reason = "the one place where bytes become a header on the host"
        )]
        // SAFETY: `bytes` is `size_of::<T>()` long and `Plain` types are valid for any bytes; the read is unaligned.
        let header = unsafe { header.read_unaligned() };
        Some(header)
    }
}

/// Whether a packet is a fragment.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragmentation {
    /// A whole packet, IPv6 atomic fragments (RFC 6946) included.
    #[default]
    Whole = 0,
    /// The fragment that holds the transport header.
    First = 1,
    /// A fragment that holds none.
    Later = 2,
}

/// What the datapath needs to know of an IP packet. `A` is its family's address.
///
/// Parsers fill one that they are given, field by field: in the kernel it lies in a map, where the verifier forgets what
/// was stored; else it would follow every combination of headers to its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// IP identification; 0 unless a fragment.
    pub identification: u32,
    /// Where the IP packet ends, from the start of the frame.
    pub end: u32,
    /// Offset of the transport header (of the payload in a later fragment).
    pub transport: u16,
    /// Source port; for ICMP the identifier of a query, else 0.
    pub source_port: u16,
    /// Destination port; for ICMP `type << 8 | code`.
    pub destination_port: u16,
    /// Fragment offset in 8-byte units.
    pub fragment_offset: u16,
    /// IP protocol after all extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Whether it is a fragment.
    pub fragment: Fragmentation,
    /// IPv6 fragment headers seen.
    pub fragment_headers: u16,
}

/// The result of parsing: done, or the reason why the packet is judged as unparseable.
pub type Result = core::result::Result<(), Reason>;

/// Offset of the network header in an Ethernet frame without VLAN tag.
pub const NETWORK: usize = 14;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of an outer VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_QINQ: u16 = 0x88a8;
