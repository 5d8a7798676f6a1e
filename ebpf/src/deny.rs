//! Refusals: counted per kind of attempt in `DENIALS`, announced on their own ring, never silent.

use crate::atomic;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::diagnostics::diagnose;
use crate::event::{self, Facts};
use crate::family::{DenialKind, Family};
use crate::judge::{self, Judgement, Origin};
use crate::ledger;
use crate::scratch;
use crate::step::Step;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use core::ptr::addr_of_mut;
use weir_datapath::abi::{
    Denial, Direction, EventKind, Reason, Tally, Verdict, endpoint_protocol, flow_state,
};

/// Counts one more refused packet in its entry.
///
/// # Safety
/// `denial` points into the denial table.
#[inline(always)]
unsafe fn add<F: Family>(cx: &Context, a: &Attempt<F>, denial: *mut Denial) {
    let port = u32::from(a.source_port(cx.direction));
    let extra = cx.skb.extra_segments();
    // SAFETY: the caller's promise; counters are added to atomically, the rest are last-writer-wins words.
    unsafe {
        atomic::add(addr_of_mut!((*denial).dropped.packets), 1);
        atomic::add(
            addr_of_mut!((*denial).dropped.bytes),
            u64::from(cx.skb.len()),
        );
        if extra > 0 {
            atomic::add(addr_of_mut!((*denial).extra_segments), extra);
        }
        let flags_port = (*denial).flags_port & 0xffff | port << 16;
        if (*denial).flags_port != flags_port {
            (*denial).flags_port = flags_port;
        }
        (*denial).last_seen = bpf_jiffies64();
    }
}

/// The cheap way for refusals that repeat: the same attempt was denied by default under this very epoch. The key knows
/// addresses and port, as the verdict does; but not where a packet to the pod came from, which the verdict also depends
/// on: what was not forwarded is judged.
// With diagnostics in the programs its key would take too much of their stack.
#[cfg_attr(feature = "log", inline(never))]
#[cfg_attr(not(feature = "log"), inline(always))]
pub(crate) fn repeated<F: Family>(cx: &Context, a: &Attempt<F>) -> bool {
    if !cx.enforces() || matches!(judge::origin(cx), Origin::Local | Origin::Hairpin) {
        return false;
    }
    let Some(denial) = F::denials().get_ptr_mut(&a.denial_key(cx, Reason::DefaultDeny)) else {
        return false;
    };
    // SAFETY: an entry of the denial table.
    unsafe {
        if (*denial).epoch != cx.epoch || (*denial).state & flow_state::RETIRED != 0 {
            return false;
        }
        add(cx, a, denial);
    }
    true
}

/// Refuses a packet: drops and records it where the endpoint enforces; elsewhere it passes and the ledger says so.
#[inline(never)]
pub(crate) fn refuse<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &Judgement) -> Step {
    if !cx.enforces() {
        diagnose!(debug, "not enforced", cx, a, judgement);
        return Step::Ledger;
    }
    let key = a.denial_key(cx, judgement.reason);
    let mut entry = F::denials().get_ptr_mut(&key);
    if entry.is_none() {
        match insert(cx, a, judgement, &key) {
            Inserted::New => return Step::Drop,
            Inserted::Raced => entry = F::denials().get_ptr_mut(&key),
            Inserted::Full => diagnose!(warn, "denial table full", cx, a, judgement),
        }
    }
    match entry {
        // SAFETY: an entry of the denial table.
        Some(denial) if unsafe { count_in(cx, a, judgement, denial) } => {
            diagnose!(trace, "denied again", cx, a, judgement);
            Step::Drop
        }
        _ => overflow(cx, a, judgement),
    }
}

/// Counts in an existing entry; false if user space is about to delete it. An entry of an older epoch takes over the
/// new verdict's words, and says so.
///
/// # Safety
/// `denial` points into the denial table.
#[inline(always)]
unsafe fn count_in<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    denial: *mut Denial,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if (*denial).state & flow_state::RETIRED != 0 {
            return false;
        }
        add(cx, a, denial);
        if (*denial).epoch == cx.epoch {
            return true;
        }
        (*denial).epoch = cx.epoch;
        if (*denial).rule == judgement.rule && (*denial).set == judgement.set {
            return true;
        }
        (*denial).rule = judgement.rule;
        (*denial).set = judgement.set;
        (*denial).identity = judgement.identity;
        let totals = Tally {
            packets: (*denial).dropped.packets,
            bytes: (*denial).dropped.bytes,
        };
        ring(
            cx,
            a,
            judgement,
            (*denial).serial,
            bpf_ktime_get_ns(),
            totals,
        );
    }
    true
}

enum Inserted {
    New,
    Raced,
    Full,
}

const EEXIST: i32 = -17;

#[inline(always)]
fn insert<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    key: &F::DenialKey,
) -> Inserted {
    let Some(scratch) = scratch::get() else {
        return Inserted::Full;
    };
    let serial = ledger::serial();
    let bytes = u64::from(cx.skb.len());
    // SAFETY: this CPU's scratch; the helpers have no precondition.
    let (denial, now) = unsafe {
        let denial = addr_of_mut!((*scratch).denial);
        let now = bpf_ktime_get_ns();
        (*denial).epoch = cx.epoch;
        (*denial).rule = judgement.rule;
        (*denial).set = judgement.set;
        (*denial).identity = judgement.identity;
        (*denial).dropped.packets = 1;
        (*denial).dropped.bytes = bytes;
        (*denial).extra_segments = cx.skb.extra_segments();
        (*denial).last_seen = bpf_jiffies64();
        (*denial).first_seen_ns = now;
        (*denial).serial = serial;
        (*denial).flags_port = u32::from(a.flags()) | u32::from(a.source_port(cx.direction)) << 16;
        (*denial).state = judgement.bits;
        (&*denial, now)
    };
    match F::denials().insert(key, denial, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            ring(cx, a, judgement, serial, now, Tally { packets: 1, bytes });
            diagnose!(debug, "denied", cx, a, judgement);
            Inserted::New
        }
        Err(EEXIST) => Inserted::Raced,
        Err(_) => Inserted::Full,
    }
}

/// Rings about a denial with its totals.
#[inline(always)]
fn ring<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    judgement: &Judgement,
    serial: u64,
    time_ns: u64,
    totals: Tally,
) {
    let Some(entry) = event::reserve_denial() else {
        return;
    };
    let facts = Facts {
        kind: EventKind::Denied,
        verdict: Verdict::Deny,
        reason: judgement.reason as u8,
        rule: judgement.rule,
        set: judgement.set,
        identity: judgement.identity,
        state: judgement.bits,
        epoch: cx.epoch,
        serial,
        time_ns,
    };
    let none = Tally {
        packets: 0,
        bytes: 0,
    };
    let (egress, ingress) = match cx.direction {
        Direction::Egress => (totals, none),
        Direction::Ingress => (none, totals),
    };
    event::submit(
        entry,
        cx,
        a,
        &facts,
        (egress, ingress, [1, u64::from(cx.skb.len())]),
    );
}

/// No entry of its own: the endpoint's overflow entry for this reason counts it, or else the ledger.
#[inline(never)]
fn overflow<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &Judgement) -> Step {
    let nowhere = F::Address::default();
    let kind = DenialKind {
        port: 0,
        reason: judgement.reason as u8,
        direction: cx.direction as u8,
        endpoint_protocol: endpoint_protocol(cx.endpoint.id, 0),
        ethertype: 0,
    };
    match F::denials().get_ptr_mut(&F::denial_key(nowhere, nowhere, kind)) {
        // SAFETY: an entry of the denial table.
        Some(denial) => unsafe {
            add(cx, a, denial);
            Step::Drop
        },
        None => Step::Ledger,
    }
}
