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
use weir_datapath::abi::{Direction, Event, EventKind, Flow, Tally};
use weir_datapath::state;

/// Begins a new incarnation in an ended (or cut) entry. The old one's event is reserved first: its counts must not be
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
    let Some(mut entry) = event::reserve_flow() else {
        diagnose!(
            warn,
            "ring full, the old incarnation goes on",
            cx,
            a,
            judgement
        );
        return;
    };
    // SAFETY: the caller's promise; the record is reserved.
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
        tell(cx, a, flow, seen, entry.as_mut_ptr());
        entry.submit(NO_WAKEUP);
        restamp(cx, a, judgement, flow);
        announce(cx, a, judgement, flow, fresh);
    }
    diagnose!(trace, "flow begun anew", cx, a, judgement);
}

/// The last word about the old incarnation: its verdict, and what it counted. From here on its counts are no longer
/// the entry's.
///
/// # Safety
/// `flow` points into the flow table, `event` to a reserved record.
#[inline(always)]
unsafe fn tell<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    flow: *mut Flow,
    seen: u32,
    event: *mut Event,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let old = Facts {
            kind: EventKind::Replaced,
            verdict: event::verdict_of(seen),
            reason: (*flow).reason as u8,
            rule: (*flow).rule,
            set: (*flow).set,
            identity: (*flow).identity,
            state: seen,
            epoch: (*flow).epoch,
            serial: (*flow).serial,
            time_ns: (*flow).first_seen_ns,
        };
        event::write(event, cx, a, &old);
        (*event).direction = state::opener(seen) as u8;
        let flags = (*flow).tcp_flags;
        (*event).tcp_flags = (flags & 0xff | (flags >> 16 & 0xff) << 8) as u16;
        (*event).last_seen = (*flow).last_seen;
        part(
            addr_of!((*flow).egress),
            addr_of_mut!((*flow).base_egress),
            addr_of_mut!((*event).egress),
        );
        part(
            addr_of!((*flow).ingress),
            addr_of_mut!((*flow).base_ingress),
            addr_of_mut!((*event).ingress),
        );
        part(
            addr_of!((*flow).egress_dropped),
            addr_of_mut!((*flow).base_egress_dropped),
            addr_of_mut!((*event).dropped[0]),
        );
        part(
            addr_of!((*flow).ingress_dropped),
            addr_of_mut!((*flow).base_ingress_dropped),
            addr_of_mut!((*event).dropped[1]),
        );
        let segments = [
            (*flow).egress_extra_segments,
            (*flow).ingress_extra_segments,
        ];
        let base = (*flow).base_segments;
        (*event).extra = [
            segments[0].wrapping_sub(base[0]),
            segments[1].wrapping_sub(base[1]),
        ];
        (*flow).base_segments = segments;
    }
}

/// Cuts a counter in two: what was added since `base` goes to `own`, and `base` moves up. Others may add meanwhile, so
/// that the counter is read once.
///
/// # Safety
/// All are valid.
#[inline(always)]
unsafe fn part(total: *const Tally, base: *mut Tally, own: *mut Tally) {
    // SAFETY: the caller's promise.
    unsafe {
        let packets = addr_of!((*total).packets).read_volatile();
        let bytes = addr_of!((*total).bytes).read_volatile();
        (*own).packets = packets.wrapping_sub((*base).packets);
        (*own).bytes = bytes.wrapping_sub((*base).bytes);
        (*base).packets = packets;
        (*base).bytes = bytes;
    }
}

/// The new incarnation's verdict and number; the incarnation count last.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn restamp<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &Judgement, flow: *mut Flow) {
    // SAFETY: the caller's promise; the helper has no precondition.
    unsafe {
        (*flow).rule = judgement.rule;
        (*flow).set = judgement.set;
        (*flow).identity = judgement.identity;
        (*flow).reason = judgement.reason as u32;
        (*flow).serial = ledger::serial();
        (*flow).first_seen_ns = bpf_ktime_get_ns();
        (*flow).tcp_flags = state::flag_word(cx.direction, a.flags());
        let incarnation = addr_of_mut!((*flow).incarnation);
        incarnation.write_volatile(incarnation.read_volatile().wrapping_add(1));
    }
}

/// Rings about the new incarnation, with the packet that begins it.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(never)]
unsafe fn announce<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    flow: *mut Flow,
    state: u32,
) {
    let verdict = event::verdict_of(state);
    let Some(entry) = event::reserve(verdict) else {
        return;
    };
    let (own, none) = (
        Tally {
            packets: 1,
            bytes: u64::from(cx.skb.len()),
        },
        event::NONE,
    );
    let (egress, ingress) = match cx.direction {
        Direction::Egress => (own, none),
        Direction::Ingress => (none, own),
    };
    // SAFETY: the caller's promise.
    let (serial, time_ns) = unsafe {
        (
            addr_of!((*flow).serial).read(),
            addr_of!((*flow).first_seen_ns).read(),
        )
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
        serial,
        time_ns,
    };
    event::submit(entry, cx, a, &facts, (egress, ingress, [0; 2]));
}
