//! The kernel border: map names, keys, values, events and reserved numbers.
//!
//! Addresses are in network byte order, IPv4 as the `u32` whose memory holds the four octets in order. Ports are
//! host order. Every struct has explicit padding (zero) and no implicit one.

mod endpoint;
mod event;
mod flow;
mod policy;
mod reason;
pub mod retire;

pub use endpoint::*;
pub use event::*;
pub use flow::*;
pub use policy::*;
pub use reason::*;

/// Version of everything in this module. It is part of the pin path: a collector never opens maps of another schema.
pub const SCHEMA: u32 = 2;

/// Direction of a packet or of a policy as the pod sees it: `Ingress` goes to the pod, `Egress` leaves it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards the pod (tcx egress on the host end of its veth).
    Ingress = 0,
    /// From the pod (tcx ingress on the host end of its veth).
    Egress = 1,
}

/// The protocol numbers that policies can name; every other protocol is [`PROTOCOL_OTHER`] in the port tables.
pub const IPPROTO_TCP: u8 = 6;
/// UDP.
pub const IPPROTO_UDP: u8 = 17;
/// SCTP.
pub const IPPROTO_SCTP: u8 = 132;
/// ICMP for IPv4.
pub const IPPROTO_ICMP: u8 = 1;
/// ICMP for IPv6.
pub const IPPROTO_ICMPV6: u8 = 58;
/// The class of all protocols that NetworkPolicy cannot name; only rules without `ports` allow it.
pub const PROTOCOL_OTHER: u8 = 0;

/// Declares that a `#[repr(C)]` struct has exactly this size and may cross the kernel border as bytes.
macro_rules! border {
    ($($t:ty = $size:literal),* $(,)?) => {$(
        const _: () = assert!(core::mem::size_of::<$t>() == $size);
        // SAFETY: `#[repr(C)]`, `Copy`, only integers and integer arrays, no implicit padding (fields sum to the
        // asserted size, checked by the layout test), so every bit pattern is valid.
        #[cfg(feature = "user")]
        #[expect(unsafe_code, reason = "plain data that crosses the kernel border")]
        unsafe impl aya::Pod for $t {}
    )*};
}
pub(crate) use border;
