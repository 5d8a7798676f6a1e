//! Addresses as words of memory in network byte order: cheap to compare and to copy into keys.

/// What the datapath asks of an address, whatever its family.
pub trait Address: Copy + PartialEq {
    /// `0.0.0.0` or `::`.
    fn is_unspecified(self) -> bool;
    /// A multicast address, or the IPv4 limited broadcast.
    fn is_multicast(self) -> bool;
    /// An IPv6 link-local unicast address (RFC 4291 §2.5.6); no IPv4 address counts as one here.
    fn is_link_local(self) -> bool;
    /// As records show it: IPv4 in the first four bytes.
    fn to_bytes(self) -> [u8; 16];
}

/// An IPv4 address; the memory of the `u32` holds the four octets in order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address4(pub u32);

/// An IPv6 address as two words whose memory holds the sixteen octets in order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address6 {
    /// Octets 0 to 7.
    pub high: u64,
    /// Octets 8 to 15.
    pub low: u64,
}

impl Address for Address4 {
    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    fn is_multicast(self) -> bool {
        u32::from_be(self.0) >> 28 == 0xe || self.0 == u32::MAX
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        false
    }

    #[inline(always)]
    fn to_bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.0.to_ne_bytes();
        // Two words: zero bytes one by one become a call to memset.
        Address6 {
            high: u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]),
            low: 0,
        }
        .to_bytes()
    }
}

impl Address6 {
    /// From the sixteen octets in order.
    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "taken apart byte by byte it costs the kernel programs 300 bytes of stack"
    )]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        // SAFETY: two integers without padding, in the bytes' own order; any bytes are valid.
        unsafe { core::mem::transmute(bytes) }
    }
}

impl Address for Address6 {
    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.high | self.low == 0
    }

    #[inline(always)]
    fn is_multicast(self) -> bool {
        u64::from_be(self.high) >> 56 == 0xff
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        u64::from_be(self.high) >> 54 == 0xfe80 >> 6
    }

    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "taken apart byte by byte it costs the kernel programs 300 bytes of stack"
    )]
    fn to_bytes(self) -> [u8; 16] {
        // SAFETY: two integers without padding, in the bytes' own order.
        unsafe { core::mem::transmute(self) }
    }
}
