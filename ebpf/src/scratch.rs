//! Working memory in a map, one piece for each CPU.
//!
//! The stack of 512 bytes has no room for it; and what is read back from a map the verifier knows nothing about, so it
//! need not follow every combination of headers and verdicts to its end.

use crate::attempt::Attempt;
use crate::family::{Family, V4, V6};
use crate::judge::Judgement;
use crate::maps::SCRATCH;
use core::ptr::addr_of_mut;
use weir_datapath::abi::{Denial, Flow, LedgerCount};
use weir_datapath::packet::Parsed;

/// One CPU's working memory. Programs run with bottom halves off, one at a time on a CPU.
#[repr(C)]
pub(crate) struct Scratch {
    /// A new flow entry is put together here; what `create` does not write is zero for ever.
    pub(crate) flow: Flow,
    /// The same for a denial.
    pub(crate) denial: Denial,
    /// Zero for ever.
    pub(crate) zero: LedgerCount,
    judgement: Judgement,
    v4: Workspace<V4>,
    v6: Workspace<V6>,
}

/// Where an irregular packet is taken apart.
#[repr(C)]
pub(crate) struct Workspace<F: Family> {
    pub(crate) parsed: Parsed<F::Address>,
    pub(crate) attempt: Attempt<F>,
    /// The packet that an ICMP error quotes.
    pub(crate) quoted: Parsed<F::Address>,
    pub(crate) quoted_attempt: Attempt<F>,
}

/// This CPU's working memory; there always is one.
#[inline(always)]
pub(crate) fn get() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// The judgement of the packet in hand, blank. To be taken once per packet.
#[inline(always)]
pub(crate) fn judgement() -> Option<&'static mut Judgement> {
    let scratch = get()?;
    // SAFETY: this CPU's memory, written before it is read; nothing else refers to the field.
    unsafe {
        let judgement = addr_of_mut!((*scratch).judgement);
        judgement.write(Judgement::blank());
        Some(&mut *judgement)
    }
}

/// Where IPv4 packets are taken apart.
///
/// # Safety
/// `scratch` is this CPU's.
#[inline(always)]
pub(crate) unsafe fn v4(scratch: *mut Scratch) -> *mut Workspace<V4> {
    // SAFETY: the caller's promise.
    unsafe { addr_of_mut!((*scratch).v4) }
}

/// The same for IPv6.
///
/// # Safety
/// `scratch` is this CPU's.
#[inline(always)]
pub(crate) unsafe fn v6(scratch: *mut Scratch) -> *mut Workspace<V6> {
    // SAFETY: the caller's promise.
    unsafe { addr_of_mut!((*scratch).v6) }
}
