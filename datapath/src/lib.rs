//! All that both sides of the kernel border agree on.
//!
//! [`abi`] holds the `#[repr(C)]` keys, values and events that live in eBPF maps; their sizes are asserted, and a
//! change of any of them needs a new [`abi::SCHEMA`]. The other modules are the datapath's pure logic (header walk,
//! flow state, port search): `no_std`, no helper calls, so that the very code the kernel runs is tested and fuzzed on the host.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod address;
pub mod headers;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod packet;
pub mod ports;
pub mod state;
pub mod transport;
