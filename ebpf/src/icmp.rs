//! ICMP: queries are flows by identifier, errors belong to the flow that they quote, neighbour discovery passes.

use crate::addresses;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::diagnostics::diagnose;
use crate::family::{Family, FlowKey};
use crate::hit::state_of;
use crate::judge::Judgement;
use crate::miss;
use crate::neighbour;
use crate::rejudge;
use crate::scratch::Workspace;
use crate::skb::Skb;
use crate::step::Step;
use core::ptr::addr_of;
use weir_datapath::abi::flow_state::{DENIED, RETIRED};
use weir_datapath::abi::{
    Direction, Flow, IPPROTO_ICMP, IPPROTO_ICMPV6, Reason, endpoint_protocol,
};
use weir_datapath::icmp::{self, Class};
use weir_datapath::packet::{Fragmentation, Parsed};

const HEADER: usize = 8;

/// Makes a flow key for a query, or settles what becomes of any other message.
#[inline(never)]
pub(crate) fn prepare<F: Family>(
    cx: &Context,
    parsed: &Parsed<F::Address>,
    a: &mut Attempt<F>,
    judgement: &mut Judgement,
) -> Step {
    let (kind, code) = (
        (parsed.destination_port >> 8) as u8,
        parsed.destination_port as u8,
    );
    let class = icmp::classify(F::ICMP, kind, code, parsed.hop_limit);
    let (local_port, remote_port) = match class {
        Class::Query(request) => (parsed.source_port, u16::from(request) << 8),
        _ => (0, parsed.destination_port),
    };
    *a = Attempt::with_ports(
        cx.direction,
        cx.endpoint.id,
        parsed,
        local_port,
        remote_port,
    );
    let whole = matches!(parsed.fragment, Fragmentation::Whole);
    let reason = match (class, cx.direction) {
        (Class::Query(_) | Class::Other, _) => return Step::LookUp,
        (Class::Redirect, Direction::Egress) => Reason::RogueRouter,
        (Class::Error | Class::Redirect, _) => return Step::IcmpError,
        // Fragmented neighbour discovery is none (RFC 6980).
        _ if !whole => return Step::LookUp,
        (Class::Router, Direction::Egress) => Reason::RogueRouter,
        (Class::Listener, _) => return miss::non_flow(cx, a, Reason::MulticastListener, judgement),
        (Class::NeighbourAdvertisement, Direction::Egress)
            if !neighbour::owns_target::<F>(cx, parsed) =>
        {
            Reason::SpoofedNeighbour
        }
        _ => return miss::non_flow(cx, a, Reason::NeighbourDiscovery, judgement),
    };
    judgement.refuse(cx, reason)
}

/// An error passes if it goes to the sender of the packet that it quotes, and that packet's flow is allowed.
#[inline(never)]
pub(crate) fn error<F: Family>(
    cx: &Context,
    space: &mut Workspace<F>,
    judgement: &mut Judgement,
) -> Step {
    let a = &space.attempt;
    let objection = addresses::objection::<F>(cx, a.key.local(), a.key.protocol(), a.port);
    if let Some(reason) = objection {
        return miss::object(cx, reason, judgement);
    }
    if is_related(cx, space, judgement) {
        return judgement.pass(Reason::IcmpRelated);
    }
    judgement.refuse_if_isolated(cx, Reason::IcmpUnrelated)
}

#[inline(always)]
fn is_related<F: Family>(
    cx: &Context,
    space: &mut Workspace<F>,
    judgement: &mut Judgement,
) -> bool {
    let (outer, quoted) = (&space.parsed, &mut space.quoted);
    if matches!(outer.fragment, Fragmentation::Later) {
        return false;
    }
    let at = usize::from(outer.transport) + HEADER;
    let read = parse_quoted::<F>(cx.skb, at, quoted)
        || (cx.skb.pull() && parse_quoted::<F>(cx.skb, at, quoted));
    if !read || outer.destination != quoted.source {
        diagnose!(
            debug,
            "error quotes no packet of its receiver",
            cx,
            &space.attempt
        );
        return false;
    }
    let a = &mut space.quoted_attempt;
    *a = Attempt::of_key(quoted_key::<F>(cx, quoted));
    match F::flows().get_ptr_mut(&a.key) {
        // SAFETY: an entry of the flow table.
        Some(flow) => unsafe { is_allowed(cx, a, flow, judgement) },
        None => {
            diagnose!(debug, "error quotes a packet of no flow", cx, a);
            false
        }
    }
}

/// Not inlined: its stack must be free again when the flow is judged.
#[inline(never)]
fn parse_quoted<F: Family>(skb: Skb, at: usize, out: &mut Parsed<F::Address>) -> bool {
    F::parse_quoted(&skb, at, out).is_some()
}

/// The flow of the packet that the error quotes: the error goes the other way.
#[inline(always)]
fn quoted_key<F: Family>(cx: &Context, quoted: &Parsed<F::Address>) -> F::FlowKey {
    let (mut source_port, mut destination_port) = (quoted.source_port, quoted.destination_port);
    let protocol = endpoint_protocol(cx.endpoint.id, quoted.protocol);
    let is_icmp = matches!(quoted.protocol, IPPROTO_ICMP | IPPROTO_ICMPV6);
    let (local, remote) = match cx.direction {
        Direction::Ingress => (quoted.source, quoted.destination),
        Direction::Egress => (quoted.destination, quoted.source),
    };
    if is_icmp {
        // Keyed as `prepare` does.
        if let Some(request) = icmp::request_of(F::ICMP, (destination_port >> 8) as u8) {
            destination_port = u16::from(request) << 8;
        }
    } else if cx.direction == Direction::Egress {
        (source_port, destination_port) = (destination_port, source_port);
    }
    F::FlowKey::new(local, remote, source_port, destination_port, protocol)
}

/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn is_allowed<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    flow: *mut Flow,
    judgement: &mut Judgement,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if addr_of!((*flow).epoch).read_volatile() != cx.epoch && state_of(flow) & RETIRED == 0 {
            rejudge::rejudge::<F>(cx, a, flow, judgement);
        }
        state_of(flow) & (DENIED | RETIRED) == 0
    }
}
