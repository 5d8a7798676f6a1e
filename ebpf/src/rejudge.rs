//! A flow under an older policy epoch is judged again at its next packet, in the direction in which it was opened.

use crate::atomic;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::diagnostics::diagnose;
use crate::event::{self, Facts};
use crate::family::{Family, FlowKey};
use crate::hit::state_of;
use crate::judge::{self, Ask, Judgement, Origin};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use core::ptr::{addr_of, addr_of_mut};
use weir_datapath::abi::endpoint_flag::SIDECAR;
use weir_datapath::abi::flow_state::{AUDIT, BEFORE_ATTACH, DENIED, LOCAL_ORIGIN, SERVICE};
use weir_datapath::abi::{Direction, EventKind, Flow, Reason, rule};
use weir_datapath::state;

/// Where the flow's opener sat, as far as the entry remembers.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn origin(cx: &Context, flow: *const Flow, state: u32) -> Origin {
    if cx.has(SIDECAR) {
        return Origin::AddressOnly;
    }
    // SAFETY: the caller's promise.
    let reason = unsafe { (*flow).reason };
    match state & LOCAL_ORIGIN {
        0 if reason == Reason::SelfTraffic as u32 => Origin::Hairpin,
        0 => Origin::Forwarded,
        _ => Origin::Local,
    }
}

#[inline(always)]
fn ask<F: Family>(key: &F::FlowKey, direction: Direction, origin: Origin) -> Ask {
    let port = match direction {
        Direction::Egress => key.remote_port(),
        Direction::Ingress => key.local_port(),
    };
    Ask {
        direction,
        origin,
        port,
    }
}

/// Brings the entry's verdict up to the packet's epoch. A re-check that changes nothing says nothing.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(never)]
pub(crate) unsafe fn rejudge<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    flow: *mut Flow,
    judgement: &mut Judgement,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let epoch = addr_of!((*flow).epoch).read_volatile();
        let state = state_of(flow);
        let direction = state::opener(state);
        judge::judge::<F>(
            cx,
            &a.key,
            ask::<F>(&a.key, direction, origin(cx, flow, state)),
            judgement,
        );
        if state & BEFORE_ATTACH != 0 {
            before_attach::<F>(cx, a, direction, judgement);
        }
        let verdict = match (judgement.allowed, cx.enforces()) {
            (true, _) => 0,
            (false, true) => DENIED,
            (false, false) => AUDIT,
        };
        let new = state & !(DENIED | AUDIT | SERVICE) | verdict | judgement.bits & SERVICE;
        // Epoch and state are one word, so that of several CPUs with different epochs one wins whole.
        let word = |epoch: u32, state: u32| u64::from(epoch) | u64::from(state) << 32;
        if !atomic::exchange64(flow.cast::<u64>(), word(epoch, state), word(cx.epoch, new)) {
            return;
        }
        let changed = (*flow).rule != judgement.rule || (state ^ new) & (DENIED | AUDIT) != 0;
        (*flow).set = judgement.set;
        (*flow).identity = judgement.identity;
        if changed {
            (*flow).rule = judgement.rule;
            (*flow).reason = judgement.reason as u32;
            announce(cx, a, judgement, new, flow);
            diagnose!(debug, "judged differently", cx, a, judgement);
        }
    }
}

/// Who opened it was guessed: it stays if either direction allows it, else the other direction's refusal stands.
#[inline(always)]
fn before_attach<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judged: Direction,
    judgement: &mut Judgement,
) {
    if !judgement.allowed {
        let ask = ask::<F>(&a.key, state::opposite(judged), Origin::Forwarded);
        judge::judge::<F>(cx, &a.key, ask, judgement);
    }
    if judgement.allowed {
        judgement.reason = Reason::EstablishedBeforeAttach;
        judgement.rule = rule::ESTABLISHED_BEFORE_ATTACH;
    }
}

/// Not inlined: what it needs of the stack is free while the flow is judged.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(never)]
unsafe fn announce<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    state: u32,
    flow: *mut Flow,
) {
    let verdict = event::verdict_of(state);
    let Some(entry) = event::reserve(verdict) else {
        return;
    };
    // SAFETY: the caller's promise; the helper has no precondition.
    unsafe {
        let facts = Facts {
            kind: EventKind::Rejudged,
            verdict,
            reason: judgement.reason as u8,
            rule: judgement.rule,
            set: judgement.set,
            identity: judgement.identity,
            state,
            epoch: cx.epoch,
            serial: addr_of_mut!((*flow).serial).read(),
            time_ns: bpf_ktime_get_ns(),
        };
        event::submit_flow(entry, cx, a, &facts, flow);
    }
}
