//! Atomic operations on map values. `core::sync::atomic` does not compile for BPF.
//!
//! The result of a *relaxed* add must never be used: LLVM then emits an add without result and hands back the addend.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

/// Adds to a counter that others add to as well.
///
/// # Safety
/// `p` points into a map value or is otherwise valid for writes.
#[inline(always)]
pub(crate) unsafe fn add(p: *mut u64, n: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(p, n) };
}

/// Sets bits and returns the old value.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn or(p: *mut u32, bits: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { atomic_or::<u32, u32, { AtomicOrdering::SeqCst }>(p, bits) }
}

/// Stores `new` if `seen` is still there; true for exactly one of those who try.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn exchange32(p: *mut u32, seen: u32, new: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(p, seen, new).1
    }
}

/// The same for eight bytes.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn exchange64(p: *mut u64, seen: u64, new: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(p, seen, new).1
    }
}
