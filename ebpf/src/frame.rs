//! Ethernet frames at an endpoint: which way a packet goes.

use crate::attempt::Attempt;
use crate::context::{self, Context};
use crate::endpoint;
use crate::family::{Family, V4, V6};
use crate::ip;
use crate::ledger;
use crate::neighbour;
use crate::scratch;
use crate::skb::Skb;
use crate::slow;
use crate::step::Step;
use weir_datapath::abi::{Counter, Direction, Reason};
use weir_datapath::headers::Ethernet;
use weir_datapath::packet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Packet as _,
};

/// Handles a packet and returns what becomes of it.
#[inline(always)]
pub(crate) fn frame(skb: Skb, direction: Direction) -> i32 {
    let Some((endpoint, slot)) = endpoint::find(skb.ifindex()) else {
        ledger::count(Counter::NoEndpoint, 1);
        return Step::Pass as i32;
    };
    // A tag that the driver took off stands beside the packet.
    let ethertype = match (skb.window().read::<Ethernet>(0), skb.vlan_present()) {
        (Some(ethernet), 0) => u16::from_be(ethernet.ethertype),
        (Some(_), _) => ETHERTYPE_VLAN,
        (None, _) => 0,
    };
    match ethertype {
        ETHERTYPE_IPV4 => ip::packet::<V4>(skb, endpoint, slot, direction),
        ETHERTYPE_IPV6 => ip::packet::<V6>(skb, endpoint, slot, direction),
        other => no_ip(
            &Context {
                skb,
                endpoint,
                slot,
                epoch: context::epoch(),
                direction,
            },
            other,
        ),
    }
}

/// A frame that carries no IP.
#[inline(never)]
fn no_ip(cx: &Context, ethertype: u16) -> i32 {
    let nobody = <V4 as Family>::Address::default();
    let mut a = Attempt::<V4>::unparsed(cx.endpoint.id, nobody, u32::from(ethertype));
    let Some(judgement) = scratch::judgement() else {
        return Step::Drop as i32;
    };
    let step = match ethertype {
        ETHERTYPE_ARP => neighbour::arp(cx, &mut a, judgement),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => judgement.refuse_if_isolated(cx, Reason::Vlan),
        0 => judgement.refuse_if_isolated(cx, Reason::ShortHeader),
        _ => judgement.refuse_if_isolated(cx, Reason::UnknownEthertype),
    };
    slow::finish(cx, &a, step, judgement)
}
