//! Neighbour resolution: a pod speaks for its own addresses only.

use crate::attempt::Attempt;
use crate::context::Context;
use crate::endpoint;
use crate::family::{Family, V4};
use crate::judge::Judgement;
use crate::step::Step;
use weir_datapath::abi::{Direction, Reason};
use weir_datapath::address::{Address, Address4, Address6};
use weir_datapath::headers::Arp;
use weir_datapath::packet::{ETHERTYPE_ARP, NETWORK, Parsed};

/// Offset of the target address in a neighbour advertisement (RFC 4861 §4.4).
const TARGET: usize = 8;

/// Whether a neighbour advertisement speaks for an address of the pod.
#[inline(always)]
pub(crate) fn owns_target<F: Family>(cx: &Context, parsed: &Parsed<F::Address>) -> bool {
    let at = usize::from(parsed.transport) + TARGET;
    match cx.skb.at::<Address6>(at) {
        Some(target) => {
            F::from_address6(target).is_none_or(|target| endpoint::owns::<F>(cx, target))
        }
        None => false,
    }
}

/// ARP passes; from the pod only with its own address, or none, as the sender's (RFC 5227 probes have none).
#[inline(always)]
pub(crate) fn arp(cx: &Context, a: &mut Attempt<V4>, judgement: &mut Judgement) -> Step {
    let arp = match cx.skb.at::<Arp>(NETWORK) {
        None if cx.skb.pull() => cx.skb.at::<Arp>(NETWORK),
        arp => arp,
    };
    let Some(arp) = arp else {
        return judgement.refuse_if_isolated(cx, Reason::ShortHeader);
    };
    let ([x, y], [z, w]) = (arp.sender[0].to_ne_bytes(), arp.sender[1].to_ne_bytes());
    let sender = Address4(u32::from_ne_bytes([x, y, z, w]));
    let honest = sender.is_unspecified() || endpoint::owns::<V4>(cx, sender);
    if cx.direction == Direction::Egress && !honest {
        *a = Attempt::unparsed(cx.endpoint.id, sender, u32::from(ETHERTYPE_ARP));
        return judgement.refuse(cx, Reason::SpoofedNeighbour);
    }
    judgement.pass(Reason::Arp)
}
