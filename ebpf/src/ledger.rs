//! The ledger: packets that no flow or denial entry counts; and the few plain counters.

use crate::context::Context;
use crate::judge::Judgement;
use crate::maps::{COUNTERS, LEDGER};
use crate::scratch;
use crate::step::Step;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use weir_datapath::abi::endpoint_flag::{AUDIT, OBSERVE};
use weir_datapath::abi::{Counter, LedgerCount, LedgerKey, Verdict};

/// Adds to one of this CPU's counters.
#[inline(always)]
pub(crate) fn count(counter: Counter, n: u64) {
    if let Some(p) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's entry, and no other program runs on this CPU now.
        unsafe { *p = (*p).wrapping_add(n) };
    }
}

/// The number of a new flow or denial: unique since boot.
#[inline(always)]
pub(crate) fn serial() -> u64 {
    let Some(p) = COUNTERS.get_ptr_mut(Counter::Serial as u32) else {
        return 0;
    };
    // SAFETY: this CPU's entry, and no other program runs on this CPU now; the helper has no precondition.
    unsafe {
        let next = (*p).wrapping_add(1);
        *p = next;
        u64::from(bpf_get_smp_processor_id()) << 48 | next & 0xffff_ffff_ffff
    }
}

/// Counts the packet in the ledger under the judgement's reason, and passes or drops it.
#[inline(never)]
pub(crate) fn enter(cx: &Context, judgement: &Judgement) -> i32 {
    let verdict = if judgement.allowed {
        Verdict::Allow
    } else {
        refusal(cx)
    };
    let key = LedgerKey {
        endpoint: cx.endpoint.id,
        direction: cx.direction as u8,
        verdict: verdict as u8,
        reason: judgement.reason as u8,
        reserved: 0,
    };
    let bytes = u64::from(cx.skb.len());
    match LEDGER.get_ptr_mut(&key).or_else(|| insert(&key)) {
        // SAFETY: this CPU's part of a per-CPU entry.
        Some(p) => unsafe {
            (*p).tally.packets += 1;
            (*p).tally.bytes += bytes;
            (*p).extra_segments += cx.skb.extra_segments();
        },
        None => {
            count(Counter::LedgerFull, 1);
            count(Counter::LedgerFullBytes, bytes);
        }
    }
    match verdict {
        Verdict::Deny => Step::Drop as i32,
        Verdict::Allow | Verdict::Audit => Step::Pass as i32,
    }
}

#[inline(always)]
fn insert(key: &LedgerKey) -> Option<*mut LedgerCount> {
    let scratch = scratch::get()?;
    // SAFETY: this CPU's scratch; this field is never written.
    let zero = unsafe { &(*scratch).zero };
    // Another CPU may be first; then its entry serves.
    let _ = LEDGER.insert(key, zero, u64::from(BPF_NOEXIST));
    LEDGER.get_ptr_mut(key)
}

/// The verdict of a packet that would be dropped, in the endpoint's mode.
#[inline(always)]
fn refusal(cx: &Context) -> Verdict {
    match cx.endpoint.flags & (AUDIT | OBSERVE) {
        0 => Verdict::Deny,
        AUDIT => Verdict::Audit,
        _ => Verdict::Allow,
    }
}
