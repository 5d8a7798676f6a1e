//! What Weir's programs are compared with in `make bench`: an empty program, and the floor, the least that a program
//! which counts per flow can do. And a wrapper that changes a port before every run, because `BPF_PROG_TEST_RUN`
//! repeats with one and the same packet. Never part of the product's object.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "core::sync::atomic does not compile for BPF"
)]

mod floor;

use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::TcContext;

/// `TCX_NEXT`.
const NEXT: i32 = -1;
/// What no program under test returns: something is wrong with the bench.
const FAULT: i32 = -2;
/// Ports lie within this many bytes; a bound for the verifier.
const OFFSET_MASK: usize = 0x7f;

/// What the wrapper does: `[offset of the port, order, state]`.
#[map]
static PORT: Array<[u64; 3]> = Array::with_max_entries(1, 0);
/// The program behind the wrapper.
#[map]
static JUDGED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Nothing.
#[classifier]
pub(crate) fn bench_empty(_ctx: TcContext) -> i32 {
    NEXT
}

/// The least: see `floor.rs`.
#[classifier]
pub(crate) fn bench_floor(ctx: TcContext) -> i32 {
    floor::floor(&ctx)
}

/// Writes the next port into the packet and goes on to the judged program. Order 0 counts up, order 1 jumps about (a
/// linear congruential generator, Knuth's MMIX).
#[classifier]
pub(crate) fn bench_next_port(ctx: TcContext) -> i32 {
    let Some(plan) = PORT.get_ptr_mut(0) else {
        return FAULT;
    };
    // SAFETY: the array's only entry; one program runs at a time.
    let (offset, order, state) = unsafe { ((*plan)[0], (*plan)[1], (*plan)[2]) };
    let (state, port) = match order {
        0 => (state.wrapping_add(1), state as u16),
        _ => {
            let state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state, (state >> 48) as u16)
        }
    };
    // SAFETY: as above.
    unsafe { (*plan)[2] = state };
    let at = ctx.data() + (offset as usize & OFFSET_MASK);
    if at + size_of::<u16>() > ctx.data_end() {
        return FAULT;
    }
    // SAFETY: checked against `data_end` just now; the call does not return if the slot is filled.
    unsafe {
        (at as *mut u16).write(port.to_be());
        JUDGED.tail_call(&ctx, 0);
    }
    FAULT
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
