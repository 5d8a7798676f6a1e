//! Doorbells: a ring record says that something began or changed; the counts come from the tables. A full ring delays
//! the news until the sweep and is counted.

use crate::attempt::Attempt;
use crate::context::Context;
use crate::family::{Family, FlowKey};
use crate::ledger;
use crate::maps::{DENIAL_EVENTS, FLOW_EVENTS};
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use core::ptr::addr_of_mut;
use weir_datapath::abi::{Counter, Event, EventKind, Flow, Tally, Verdict, flow_state};
use weir_datapath::address::Address;

/// No packets.
pub(crate) const NONE: Tally = Tally {
    packets: 0,
    bytes: 0,
};

/// The reader runs on a timer: waking it would cost more than the whole program.
pub(crate) const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// What every event says, whatever rang.
pub(crate) struct Facts {
    pub(crate) kind: EventKind,
    pub(crate) verdict: Verdict,
    pub(crate) reason: u8,
    pub(crate) rule: u32,
    pub(crate) set: u32,
    pub(crate) identity: u32,
    pub(crate) state: u32,
    pub(crate) epoch: u32,
    pub(crate) serial: u64,
    pub(crate) time_ns: u64,
}

/// Room in the flow ring.
#[inline(always)]
pub(crate) fn reserve_flow() -> Option<RingBufEntry<Event>> {
    let entry = FLOW_EVENTS.reserve::<Event>(0);
    if entry.is_none() {
        ledger::count(Counter::FlowRingFull, 1);
    }
    entry
}

/// Room in the denial ring.
#[inline(always)]
pub(crate) fn reserve_denial() -> Option<RingBufEntry<Event>> {
    let entry = DENIAL_EVENTS.reserve::<Event>(0);
    if entry.is_none() {
        ledger::count(Counter::DenialRingFull, 1);
    }
    entry
}

/// Room in the ring where news of this verdict belongs: what is, or would be, refused goes first.
#[inline(always)]
pub(crate) fn reserve(verdict: Verdict) -> Option<RingBufEntry<Event>> {
    match verdict {
        Verdict::Allow => reserve_flow(),
        Verdict::Deny | Verdict::Audit => reserve_denial(),
    }
}

/// The verdict that a flow's state stands for.
#[inline(always)]
pub(crate) fn verdict_of(state: u32) -> Verdict {
    match state & (flow_state::DENIED | flow_state::AUDIT) {
        0 => Verdict::Allow,
        flow_state::AUDIT => Verdict::Audit,
        _ => Verdict::Deny,
    }
}

/// Fills all but the counts.
///
/// # Safety
/// `event` points to a reserved record.
#[inline(always)]
pub(crate) unsafe fn write<F: Family>(
    event: *mut Event,
    cx: &Context,
    a: &Attempt<F>,
    facts: &Facts,
) {
    let key = &a.key;
    // SAFETY: the caller's promise; every write is to a field of the record.
    unsafe {
        (*event).kind = facts.kind as u8;
        (*event).direction = cx.direction as u8;
        (*event).family = if a.ethertype == 0 { F::NUMBER } else { 0 };
        (*event).protocol = key.protocol();
        (*event).reason = facts.reason;
        (*event).verdict = facts.verdict as u8;
        (*event).tcp_flags = a.tcp_flags;
        (*event).endpoint = cx.endpoint.id;
        (*event).set = facts.set;
        (*event).rule = facts.rule;
        (*event).epoch = facts.epoch;
        (*event).identity = facts.identity;
        (*event).state = facts.state;
        (*event).local_port = key.local_port();
        (*event).remote_port = key.remote_port();
        (*event).ethertype = a.ethertype;
        (*event).local = key.local().to_bytes();
        (*event).remote = key.remote().to_bytes();
        (*event).serial = facts.serial;
        (*event).time_ns = facts.time_ns;
        (*event).last_seen = 0;
    }
}

/// Rings with explicit counts.
#[inline(always)]
pub(crate) fn submit<F: Family>(
    mut entry: RingBufEntry<Event>,
    cx: &Context,
    a: &Attempt<F>,
    facts: &Facts,
    counts: (Tally, Tally, [u64; 2]),
) {
    let event = entry.as_mut_ptr();
    // SAFETY: a reserved record, written whole.
    unsafe {
        write(event, cx, a, facts);
        set_tally(addr_of_mut!((*event).egress), counts.0);
        set_tally(addr_of_mut!((*event).ingress), counts.1);
        (*event).extra = counts.2;
        set_tally(addr_of_mut!((*event).dropped[0]), NONE);
        set_tally(addr_of_mut!((*event).dropped[1]), NONE);
    }
    entry.submit(NO_WAKEUP);
}

/// Rings about a flow entry, with its totals.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
pub(crate) unsafe fn submit_flow<F: Family>(
    entry: RingBufEntry<Event>,
    cx: &Context,
    a: &Attempt<F>,
    facts: &Facts,
    flow: *const Flow,
) {
    // SAFETY: the caller's promise.
    let counts = unsafe {
        (
            (*flow).egress,
            (*flow).ingress,
            [
                (*flow).egress_extra_segments,
                (*flow).ingress_extra_segments,
            ],
        )
    };
    submit(entry, cx, a, facts, counts);
}

/// Two stores. Volatile: the compiler would make a call to memset of zeros that lie side by side.
///
/// # Safety
/// `p` is valid for writes.
#[inline(always)]
unsafe fn set_tally(p: *mut Tally, tally: Tally) {
    // SAFETY: the caller's promise.
    unsafe {
        addr_of_mut!((*p).packets).write_volatile(tally.packets);
        addr_of_mut!((*p).bytes).write_volatile(tally.bytes);
    }
}
