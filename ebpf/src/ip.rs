//! IP packets: the fast paths of an established flow and of a refusal that repeats, and the branch to all other ways.

use crate::atomic;
use crate::attempt::Attempt;
use crate::context::{self, Context};
use crate::deny;
use crate::family::Family;
use crate::hit;
use crate::skb::Skb;
use crate::slow;
use crate::step::Step;
use aya_ebpf::helpers::bpf_jiffies64;
use core::ptr::{addr_of, addr_of_mut};
use weir_datapath::abi::flow_state::{DENIED, ESTABLISHED, RETIRED};
use weir_datapath::abi::{Direction, Endpoint, Flow};
use weir_datapath::state::{self, Role};

/// An IP packet at an endpoint.
#[inline(always)]
pub(crate) fn packet<F: Family>(
    skb: Skb,
    endpoint: &'static Endpoint,
    slot: u32,
    direction: Direction,
) -> i32 {
    let epoch = context::epoch();
    let Some(parsed) = F::parse_usual(&skb.window()) else {
        return slow::unusual::<F>(&Context {
            skb,
            endpoint,
            slot,
            epoch,
            direction,
        });
    };
    let a = Attempt::<F>::new(direction, endpoint.id, &parsed);
    let cx = Context {
        skb,
        endpoint,
        slot,
        epoch,
        direction,
    };
    // A SYN is judged in its own direction, flow or not: the same refusal again needs no look at the flow table, where
    // each source port would be another place in memory.
    if a.is_tcp() && a.role() == Role::Opener && deny::repeated(&cx, &a) {
        return Step::Drop as i32;
    }
    let flow = F::flows().get_ptr_mut(&a.key);
    if let Some(flow) = flow {
        // SAFETY: an entry of the flow table.
        unsafe {
            let state = hit::state_of(flow);
            if settled(flow, state, epoch, direction, &a) {
                return add(skb, flow, direction);
            }
        }
    }
    slow::usual(&cx, &a, flow.unwrap_or(core::ptr::null_mut()))
}

/// Whether the packet changes nothing but counts: its flow is alive, allowed under this very epoch, and has seen its
/// direction and its TCP flags before. A SYN that may open something is never that.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn settled<F: Family>(
    flow: *const Flow,
    state: u32,
    epoch: u32,
    direction: Direction,
    a: &Attempt<F>,
) -> bool {
    let flags = state::flag_word(direction, a.flags());
    // SAFETY: the caller's promise.
    let (stamped, seen) = unsafe { (addr_of!((*flow).epoch).read_volatile(), (*flow).tcp_flags) };
    stamped == epoch
        && state & (RETIRED | DENIED) == 0
        && (state & ESTABLISHED != 0 || state::opener(state) == direction)
        && seen & flags == flags
        && !(a.is_tcp() && a.role() == Role::Opener)
}

/// Adds the packet to its flow.
///
/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn add(skb: Skb, flow: *mut Flow, direction: Direction) -> i32 {
    let segments = skb.extra_segments();
    // SAFETY: the caller's promise; counters are added to atomically, `last_seen` is a last-writer-wins word.
    unsafe {
        let (tally, extra) = match direction {
            Direction::Egress => (
                addr_of_mut!((*flow).egress),
                addr_of_mut!((*flow).egress_extra_segments),
            ),
            Direction::Ingress => (
                addr_of_mut!((*flow).ingress),
                addr_of_mut!((*flow).ingress_extra_segments),
            ),
        };
        atomic::add(addr_of_mut!((*tally).packets), 1);
        atomic::add(addr_of_mut!((*tally).bytes), u64::from(skb.len()));
        if segments > 0 {
            atomic::add(extra, segments);
        }
        let now = bpf_jiffies64();
        if (*flow).last_seen != now {
            (*flow).last_seen = now;
        }
    }
    Step::Pass as i32
}
