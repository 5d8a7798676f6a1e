//! A tuple that is used again: the same entry, a new incarnation.

use crate::atomic;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::diagnostics::diagnose;
use crate::event::{self, Facts, NO_WAKEUP};
use crate::family::Family;
use crate::judge::Judgement;
use crate::ledger;
use crate::maps::ENDPOINT_USE;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use core::ptr::{addr_of, addr_of_mut};
use weir_datapath::abi::flow_state::ESTABLISHED;
use weir_datapath::abi::{EventKind, Flow, Tally};
use weir_datapath::state;

/// Begins a new incarnation in an ended (or cut) entry. Its event is reserved first: the old flow's totals must not be
/// lost, so with a full ring the old incarnation goes on. `words` are the state that was seen (low half) and the new one.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(never)]
pub(crate) unsafe fn begin_anew<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    flow: *mut Flow,
    words: u64,
) {
    let (seen, fresh) = (words as u32, (words >> 32) as u32);
    let Some(entry) = event::reserve_flow() else {
        diagnose!(
            warn,
            "ring full, the old incarnation goes on",
            cx,
            a,
            judgement
        );
        return;
    };
    // SAFETY: the caller's promise; the helper has no precondition.
    unsafe {
        if !atomic::exchange32(addr_of_mut!((*flow).state), seen, fresh) {
            entry.discard(NO_WAKEUP);
            return;
        }
        if seen & ESTABLISHED != 0
            && let Some(usage) = ENDPOINT_USE.get_ptr_mut(cx.slot)
        {
            atomic::add(addr_of_mut!((*usage).flows), u64::MAX);
            atomic::add(addr_of_mut!((*usage).nascent), 1);
        }
        let facts = Facts {
            kind: EventKind::Reused,
            verdict: event::verdict_of(fresh),
            reason: judgement.reason as u8,
            rule: judgement.rule,
            set: judgement.set,
            identity: judgement.identity,
            state: fresh,
            epoch: cx.epoch,
            serial: ledger::serial(),
            other: (*flow).serial,
            time_ns: bpf_ktime_get_ns(),
        };
        let segments = rebase(flow);
        let (egress, ingress) = ((*flow).base_egress, (*flow).base_ingress);
        restamp(flow, &facts);
        (*flow).tcp_flags = state::flag_word(cx.direction, a.flags());
        event::submit(entry, cx, a, &facts, (egress, ingress, segments));
        diagnose!(trace, "flow begun anew", cx, a, judgement);
    }
}

/// Everything counted so far belongs to earlier incarnations. Returns their extra segments.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn rebase(flow: *mut Flow) -> [u64; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        copy(addr_of_mut!((*flow).base_egress), addr_of!((*flow).egress));
        copy(
            addr_of_mut!((*flow).base_ingress),
            addr_of!((*flow).ingress),
        );
        copy(
            addr_of_mut!((*flow).base_egress_dropped),
            addr_of!((*flow).egress_dropped),
        );
        copy(
            addr_of_mut!((*flow).base_ingress_dropped),
            addr_of!((*flow).ingress_dropped),
        );
        let segments = [
            (*flow).egress_extra_segments,
            (*flow).ingress_extra_segments,
        ];
        (*flow).base_segments = segments;
        segments
    }
}

/// # Safety
/// Both are valid.
#[inline(always)]
unsafe fn copy(to: *mut Tally, from: *const Tally) {
    // SAFETY: the caller's promise.
    unsafe {
        (*to).packets = (*from).packets;
        (*to).bytes = (*from).bytes;
    }
}

/// The new incarnation's verdict and number; the incarnation count last.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn restamp(flow: *mut Flow, facts: &Facts) {
    // SAFETY: the caller's promise.
    unsafe {
        (*flow).rule = facts.rule;
        (*flow).set = facts.set;
        (*flow).identity = facts.identity;
        (*flow).reason = u32::from(facts.reason);
        (*flow).serial = facts.serial;
        (*flow).first_seen_ns = facts.time_ns;
        let incarnation = addr_of_mut!((*flow).incarnation);
        incarnation.write_volatile(incarnation.read_volatile().wrapping_add(1));
    }
}
