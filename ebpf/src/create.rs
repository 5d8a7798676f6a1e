//! New flow entries.

use crate::atomic;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::diagnostics::diagnose;
use crate::event::{self, Facts};
use crate::family::Family;
use crate::hit;
use crate::judge::Judgement;
use crate::ledger;
use crate::maps::ENDPOINT_USE;
use crate::scratch;
use crate::step::Step;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use core::ptr::addr_of_mut;
use weir_datapath::abi::flow_state::AUDIT;
use weir_datapath::abi::{Direction, EventKind, Flow, Reason};
use weir_datapath::state;

const EEXIST: i32 = -17;

/// Makes an entry for a packet that passes: allowed, or in audit mode. The judgement's bits are the flow's first state.
#[inline(never)]
pub(crate) fn open<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) -> Step {
    let (Some(usage), Some(scratch)) = (ENDPOINT_USE.get_ptr_mut(cx.slot), scratch::get()) else {
        return judgement.refuse_if_isolated(cx, Reason::TableFull);
    };
    // SAFETY: an entry of an array; a racing CPU may overshoot the quota by one.
    if unsafe { (*usage).nascent } as i64 >= i64::from(cx.endpoint.nascent_quota) {
        diagnose!(warn, "quota of new flows used up", cx, a, judgement);
        return judgement.refuse_if_isolated(cx, Reason::TableFull);
    }
    let audit = if judgement.allowed { 0 } else { AUDIT };
    let state = judgement.bits | audit | state::ending(cx.direction, a.flags());
    // SAFETY: this CPU's scratch.
    let flow = unsafe {
        let flow = addr_of_mut!((*scratch).flow);
        fill(cx, a, judgement, state, flow);
        &*flow
    };
    match F::flows().insert(&a.key, flow, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            // SAFETY: an entry of an array.
            unsafe { atomic::add(addr_of_mut!((*usage).nascent), 1) };
            announce(cx, a, judgement, state, flow);
            diagnose!(trace, "flow opened", cx, a, judgement);
            Step::Pass
        }
        Err(EEXIST) => match F::flows().get_ptr_mut(&a.key) {
            // SAFETY: an entry of the flow table.
            Some(winner) => unsafe { hit::join(cx, a, judgement, winner) },
            None => judgement.pass(Reason::EntryRetiring),
        },
        Err(_) => {
            diagnose!(warn, "flow table full", cx, a, judgement);
            judgement.refuse_if_isolated(cx, Reason::TableFull)
        }
    }
}

/// # Safety
/// `flow` is this CPU's scratch, whose other fields are zero.
#[inline(always)]
unsafe fn fill<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    state: u32,
    flow: *mut Flow,
) {
    let (own, none) = (
        (1, u64::from(cx.skb.len()), cx.skb.extra_segments()),
        (0, 0, 0),
    );
    let (egress, ingress) = match cx.direction {
        Direction::Egress => (own, none),
        Direction::Ingress => (none, own),
    };
    // SAFETY: the caller's promise; the helpers have no precondition.
    unsafe {
        (*flow).epoch = cx.epoch;
        (*flow).state = state;
        (*flow).last_seen = bpf_jiffies64();
        (
            (*flow).egress.packets,
            (*flow).egress.bytes,
            (*flow).egress_extra_segments,
        ) = egress;
        (
            (*flow).ingress.packets,
            (*flow).ingress.bytes,
            (*flow).ingress_extra_segments,
        ) = ingress;
        (*flow).rule = judgement.rule;
        (*flow).set = judgement.set;
        (*flow).tcp_flags = state::flag_word(cx.direction, a.flags());
        (*flow).identity = judgement.identity;
        (*flow).serial = ledger::serial();
        (*flow).first_seen_ns = bpf_ktime_get_ns();
        (*flow).reason = judgement.reason as u32;
    }
}

#[inline(always)]
fn announce<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    state: u32,
    flow: &Flow,
) {
    let verdict = event::verdict_of(state);
    let Some(entry) = event::reserve(verdict) else {
        return;
    };
    let facts = Facts {
        kind: EventKind::Started,
        verdict,
        reason: judgement.reason as u8,
        rule: judgement.rule,
        set: judgement.set,
        identity: judgement.identity,
        state,
        epoch: cx.epoch,
        serial: flow.serial,
        time_ns: flow.first_seen_ns,
    };
    // SAFETY: the scratch entry, which nobody else writes now.
    unsafe { event::submit_flow(entry, cx, a, &facts, flow) };
}
