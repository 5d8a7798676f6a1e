//! Anti-spoofing, and packets that a bridge flooded to the wrong pod. Flows were checked when they began.

use crate::context::Context;
use crate::endpoint;
use crate::family::Family;
use weir_datapath::abi::endpoint_flag::{CHECK_SOURCE, OBSERVE};
use weir_datapath::abi::{Direction, IPPROTO_UDP, Reason};
use weir_datapath::address::Address;
use weir_datapath::headers::Ethernet;

/// Where a pod without an address asks for one (RFC 2131).
const DHCP_SERVER: u16 = 67;

/// Why the packet's local address is not the endpoint's, if it is not: `SpoofedSource` or `NotForEndpoint`.
#[inline(always)]
pub(crate) fn objection<F: Family>(
    cx: &Context,
    local: F::Address,
    protocol: u8,
    port: u16,
) -> Option<Reason> {
    if cx.has(OBSERVE) || !cx.has(CHECK_SOURCE) || endpoint::owns::<F>(cx, local) {
        return None;
    }
    match cx.direction {
        Direction::Egress if local.is_unspecified() && may_be_unspecified::<F>(protocol, port) => {
            None
        }
        Direction::Egress => Some(Reason::SpoofedSource),
        Direction::Ingress if local.is_multicast() || is_link_group(cx) => None,
        Direction::Ingress => Some(Reason::NotForEndpoint),
    }
}

/// `::` serves duplicate address detection and MLD (RFC 4862, RFC 3590); 0.0.0.0 DHCP only.
#[inline(always)]
fn may_be_unspecified<F: Family>(protocol: u8, port: u16) -> bool {
    F::NUMBER == 6 || (protocol == IPPROTO_UDP && port == DHCP_SERVER)
}

/// Whether the frame went to a group or to all on the link.
#[inline(always)]
fn is_link_group(cx: &Context) -> bool {
    cx.skb
        .at::<Ethernet>(0)
        .is_some_and(|ethernet| u16::from_be(ethernet.destination[0]) & 0x0100 != 0)
}
