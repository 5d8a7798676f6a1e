//! Packets of a flow that has an entry: everything that the fast path leaves.

use crate::atomic;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::event::{self, Facts};
use crate::family::{Family, FlowKey};
use crate::judge::{self, Ask, Judgement};
use crate::maps::ENDPOINT_USE;
use crate::rejudge;
use crate::reuse;
use crate::step::Step;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use core::ptr::{addr_of, addr_of_mut};
use weir_datapath::abi::flow_state::{AUDIT, DENIED, ESTABLISHED, RETIRED};
use weir_datapath::abi::{Direction, EventKind, Flow, Reason};
use weir_datapath::state::{self, Role};

/// The state bits of an entry as they are now.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
pub(crate) unsafe fn state_of(flow: *const Flow) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { addr_of!((*flow).state).read_volatile() }
}

/// A packet whose flow has an entry.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(never)]
pub(crate) unsafe fn hit<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    flow: *mut Flow,
    judgement: &mut Judgement,
) -> Step {
    // SAFETY: the caller's promise.
    unsafe {
        if state_of(flow) & RETIRED != 0 {
            return retiring(cx, a, judgement);
        }
        if addr_of!((*flow).epoch).read_volatile() != cx.epoch {
            rejudge::rejudge::<F>(cx, a, flow, judgement);
        }
        if matches!(a.role(), Role::Opener) && a.is_tcp() {
            return syn(cx, a, flow, judgement);
        }
        count(cx, a, flow)
    }
}

/// The loser of a race for a new entry counts in the winner's. A SYN was judged already, by the loser itself.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
pub(crate) unsafe fn join<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &mut Judgement,
    flow: *mut Flow,
) -> Step {
    // SAFETY: the caller's promise.
    unsafe {
        match state_of(flow) & RETIRED {
            0 => count(cx, a, flow),
            _ => judgement.pass(Reason::EntryRetiring),
        }
    }
}

/// A SYN without ACK is judged in its own direction, whoever opened the flow, and never touches it unless allowed.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn syn<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    flow: *mut Flow,
    judgement: &mut Judgement,
) -> Step {
    let origin = judge::origin(cx);
    judge::judge::<F>(
        cx,
        &a.key,
        Ask {
            direction: cx.direction,
            origin,
            port: a.port,
        },
        judgement,
    );
    if !judgement.allowed && cx.enforces() {
        return Step::Refuse;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let state = state_of(flow);
        if state::ended(state) || state & DENIED != 0 {
            let audit = if judgement.allowed { 0 } else { AUDIT };
            let fresh = judgement.bits | state::opened_by(cx.direction) | origin.bits() | audit;
            reuse::begin_anew(
                cx,
                a,
                judgement,
                flow,
                u64::from(state) | u64::from(fresh) << 32,
            );
        }
        count(cx, a, flow)
    }
}

/// The entry is about to be read and deleted: the packet is judged for itself and leaves it alone.
#[inline(always)]
fn retiring<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) -> Step {
    let ask = Ask {
        direction: cx.direction,
        origin: judge::origin(cx),
        port: a.port,
    };
    judge::judge::<F>(cx, &a.key, ask, judgement);
    if judgement.allowed || !cx.enforces() {
        return judgement.pass(Reason::EntryRetiring);
    }
    Step::Refuse
}

/// Counts the packet in its flow, moves the flow's state, and lets the flow's verdict decide.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(never)]
pub(crate) unsafe fn count<F: Family>(cx: &Context, a: &Attempt<F>, flow: *mut Flow) -> Step {
    // SAFETY: the caller's promise; counters are added to atomically, `last_seen` is a last-writer-wins word.
    unsafe {
        let state = state_of(flow);
        let dropped = state & DENIED != 0 && cx.enforces();
        let (tally, extra) = match (cx.direction, dropped) {
            (Direction::Egress, false) => (
                addr_of_mut!((*flow).egress),
                addr_of_mut!((*flow).egress_extra_segments),
            ),
            (Direction::Ingress, false) => (
                addr_of_mut!((*flow).ingress),
                addr_of_mut!((*flow).ingress_extra_segments),
            ),
            (Direction::Egress, true) => (
                addr_of_mut!((*flow).egress_dropped),
                addr_of_mut!((*flow).egress_extra_segments),
            ),
            (Direction::Ingress, true) => (
                addr_of_mut!((*flow).ingress_dropped),
                addr_of_mut!((*flow).ingress_extra_segments),
            ),
        };
        atomic::add(addr_of_mut!((*tally).packets), 1);
        atomic::add(addr_of_mut!((*tally).bytes), u64::from(cx.skb.len()));
        (*flow).last_seen = bpf_jiffies64();
        if dropped {
            return Step::Drop;
        }
        let segments = cx.skb.extra_segments();
        if segments > 0 {
            atomic::add(extra, segments);
        }
        let flags = state::flag_word(cx.direction, a.flags());
        let seen = addr_of!((*flow).tcp_flags).read_volatile();
        if seen & flags != flags {
            atomic::or(addr_of_mut!((*flow).tcp_flags), flags);
        }
        if state::establishes(state, a.key.protocol(), cx.direction, seen | flags) {
            establish(cx, flow);
        }
        let ending = state::ending(cx.direction, a.flags());
        if state & ending != ending {
            end(cx, a, flow, ending);
        }
        Step::Pass
    }
}

/// The flow is one of both sides: it leaves the nascent quota for the other one, if there is room in it.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn establish(cx: &Context, flow: *mut Flow) {
    let Some(usage) = ENDPOINT_USE.get_ptr_mut(cx.slot) else {
        return;
    };
    // SAFETY: the caller's promise; a retired entry has left the count already.
    unsafe {
        if (*usage).flows as i64 >= i64::from(cx.endpoint.flow_quota) {
            return;
        }
        if atomic::or(addr_of_mut!((*flow).state), ESTABLISHED) & (ESTABLISHED | RETIRED) == 0 {
            atomic::add(addr_of_mut!((*usage).nascent), u64::MAX);
            atomic::add(addr_of_mut!((*usage).flows), 1);
        }
    }
}

/// FIN or RST; whoever completes the end rings.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn end<F: Family>(cx: &Context, a: &Attempt<F>, flow: *mut Flow, bits: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let before = atomic::or(addr_of_mut!((*flow).state), bits);
        if state::ended(before) || !state::ended(before | bits) {
            return;
        }
        let Some(entry) = event::reserve_flow() else {
            return;
        };
        let facts = Facts {
            kind: EventKind::Ended,
            verdict: event::verdict_of(before),
            reason: (*flow).reason as u8,
            rule: (*flow).rule,
            set: (*flow).set,
            identity: (*flow).identity,
            state: before | bits,
            epoch: (*flow).epoch,
            serial: (*flow).serial,
            time_ns: bpf_ktime_get_ns(),
        };
        event::submit_flow(entry, cx, a, &facts, flow);
    }
}
