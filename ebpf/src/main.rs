//! Weir's kernel programs: the entry points. A packet's way begins in `frame.rs`.
//!
//! ```text
//! frame ─▶ ip ─▶ settled flow: count, pass                       the fast path: one lookup
//!   │       └─▶ slow, which takes one step after the other:
//!   │             irregular (fragment, icmp) ─▶ a flow key
//!   │             hit (rejudge, reuse, count) │ miss (addresses, judge)
//!   │             create: flow entry, doorbell
//!   │             deny: denial entry, doorbell
//!   │             ledger
//!   └─▶ no IP: neighbour (ARP), then deny or ledger
//! ```
//! Every packet is counted exactly once: in a flow entry, in a denial entry, or in the ledger.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "core::sync::atomic does not compile for BPF; see atomic.rs"
)]

mod addresses;
mod atomic;
mod attempt;
mod context;
mod create;
mod deny;
mod diagnostics;
mod endpoint;
mod event;
mod family;
mod fragment;
mod frame;
mod hit;
mod icmp;
mod ip;
mod irregular;
mod judge;
mod ledger;
mod maps;
mod miss;
mod neighbour;
mod rejudge;
mod retire;
mod reuse;
mod scratch;
mod skb;
mod slow;
mod step;

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use skb::Skb;
use weir_datapath::abi::{ClockPair, Direction};

/// Packets that leave the pod.
#[classifier]
pub(crate) fn weir_from_pod(ctx: TcContext) -> i32 {
    frame::frame(Skb(ctx.skb.skb), Direction::Egress)
}

/// Packets to the pod.
#[classifier]
pub(crate) fn weir_to_pod(ctx: TcContext) -> i32 {
    frame::frame(Skb(ctx.skb.skb), Direction::Ingress)
}

/// Run by user space only: marks entries as retired.
#[classifier]
pub(crate) fn weir_retire(ctx: TcContext) -> i32 {
    retire::run(Skb(ctx.skb.skb)) as i32
}

/// Run by user space only: reads the clocks that entries are stamped with.
#[classifier]
pub(crate) fn weir_clock(_ctx: TcContext) -> i32 {
    // SAFETY: the helpers have no precondition.
    let pair = unsafe {
        ClockPair {
            monotonic_ns: bpf_ktime_get_ns(),
            jiffies: bpf_jiffies64(),
        }
    };
    if let Some(p) = maps::CLOCK.get_ptr_mut(0) {
        // SAFETY: the array's only entry.
        unsafe { *p = pair };
    }
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
