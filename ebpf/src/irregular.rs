//! IP packets off the fast path: options, extension headers, fragments, ICMP, non-linear and malformed ones.

use crate::context::Context;
use crate::diagnostics::diagnose;
use crate::family::Family;
use crate::fragment;
use crate::icmp;
use crate::judge::Judgement;
use crate::miss;
use crate::scratch::Workspace;
use crate::skb::Skb;
use crate::step::Step;
use weir_datapath::abi::{IPPROTO_ICMP, IPPROTO_ICMPV6, Reason};
use weir_datapath::packet::{Fragmentation, Parsed};
use weir_datapath::transport::Icmp;

/// Group management for IPv4 (RFC 3376).
const IPPROTO_IGMP: u8 = 2;

/// Makes a flow key for the packet ([`Step::LookUp`]), or settles what becomes of it. What cannot be judged does not
/// pass where the endpoint is isolated.
#[inline(never)]
pub(crate) fn prepare<F: Family>(
    cx: &Context,
    space: &mut Workspace<F>,
    judgement: &mut Judgement,
) -> Step {
    let (parsed, a) = (&mut space.parsed, &mut space.attempt);
    let mut outcome = parse::<F>(cx.skb, parsed);
    if outcome == Reason::ShortHeader as u32 && cx.skb.pull() {
        outcome = parse::<F>(cx.skb, parsed);
    }
    if let Some(reason) = Reason::from_u8(outcome as u8) {
        return judgement.refuse_if_isolated(cx, reason);
    }
    match parsed.fragment {
        Fragmentation::Whole => {}
        Fragmentation::First => fragment::remember::<F>(cx, parsed),
        Fragmentation::Later => {
            if !fragment::recall::<F>(cx, parsed) && cx.isolated() {
                a.set(cx, parsed);
                diagnose!(debug, "fragment without its first", cx, a);
                return judgement.refuse(cx, Reason::FragNoFirst);
            }
        }
    }
    match parsed.protocol {
        IPPROTO_ICMP if F::ICMP == Icmp::V4 => return icmp::prepare(cx, parsed, a, judgement),
        IPPROTO_ICMPV6 if F::ICMP == Icmp::V6 => return icmp::prepare(cx, parsed, a, judgement),
        _ => a.set(cx, parsed),
    }
    match parsed.protocol {
        IPPROTO_IGMP if F::ICMP == Icmp::V4 => {
            miss::non_flow(cx, a, Reason::MulticastListener, judgement)
        }
        _ => Step::LookUp,
    }
}

/// Parses; the result is a [`Reason`], or 0. Not inlined, because it runs twice for a non-linear packet.
#[inline(never)]
fn parse<F: Family>(skb: Skb, out: &mut Parsed<F::Address>) -> u32 {
    match F::parse(&skb, out) {
        Ok(()) => 0,
        Err(reason) => reason as u32,
    }
}
