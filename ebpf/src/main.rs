//! Weir's kernel programs.
#![no_std]
#![no_main]

use aya_ebpf::bindings::tcx_action_base::TCX_NEXT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Lets every packet go on to the next program.
#[classifier]
fn pass(_ctx: TcContext) -> i32 {
    TCX_NEXT
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
