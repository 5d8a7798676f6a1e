//! What the `weir_retire` program reads: a packet that never was on a wire, handed in by `BPF_PROG_TEST_RUN`.
//!
//! ```text
//! 14 bytes  Ethernet header with type [`ETHERTYPE`]
//!  1 byte   table: [`TABLE_FLOWS4`] .. [`TABLE_DENIALS6`]
//!  1 byte   how many keys follow, 1..=[`MAX_KEYS`]
//!  2 bytes  slot of the endpoint that all these keys belong to (native order)
//!  n keys   back to back, as in the table
//! ```
//! The program sets [`super::flow_state::RETIRED`] in every entry it finds and, the first time, takes a flow out of the
//! endpoint's [`super::EndpointUse`]. It returns the number of entries that it has newly retired, or [`MALFORMED`].
//! Afterwards no packet is counted in them, save those already past the check: wait a grace time before the last reading.

/// EtherType of the input (IEEE 802 local experimental 1).
pub const ETHERTYPE: u16 = 0x88b5;
/// Keys are [`super::FlowKey4`].
pub const TABLE_FLOWS4: u8 = 0x04;
/// Keys are [`super::FlowKey6`].
pub const TABLE_FLOWS6: u8 = 0x06;
/// Keys are [`super::DenialKey4`].
pub const TABLE_DENIALS4: u8 = 0x14;
/// Keys are [`super::DenialKey6`].
pub const TABLE_DENIALS6: u8 = 0x16;
/// The most keys one run takes.
pub const MAX_KEYS: u8 = 32;
/// Bytes before the header: an Ethernet header.
pub const HEADER_OFFSET: usize = 14;
/// Bytes before the first key.
pub const KEYS_OFFSET: usize = HEADER_OFFSET + core::mem::size_of::<Header>();
/// Return value when the input is cut off, or names no known table.
pub const MALFORMED: u32 = u32::MAX;

/// What stands between the Ethernet header and the keys.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `TABLE_*`.
    pub table: u8,
    /// How many keys follow.
    pub count: u8,
    /// Slot of the endpoint in `ENDPOINTS` and `ENDPOINT_USE`; one that does not exist if the endpoint is gone.
    pub slot: u16,
}

super::border! { Header = 4 }
crate::headers::plain! {
    Header = 4,
    super::FlowKey4 = 16,
    super::FlowKey6 = 40,
    super::DenialKey4 = 20,
    super::DenialKey6 = 44,
}
