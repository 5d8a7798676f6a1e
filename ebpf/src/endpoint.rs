//! Which endpoint an interface belongs to, and which addresses are its own.

use crate::context::Context;
use crate::family::Family;
use crate::maps::{ENDPOINTS, SOURCES};
use weir_datapath::abi::endpoint_flag::{CHECK_SOURCE, MORE_SOURCES};
use weir_datapath::abi::{ENDPOINT_PROBES, ENDPOINT_SLOTS, Endpoint, SourceKey};
use weir_datapath::address::Address;

/// The endpoint of an interface and its slot.
#[inline(always)]
pub(crate) fn find(ifindex: u32) -> Option<(&'static Endpoint, u32)> {
    let mut probe = 0;
    while probe < ENDPOINT_PROBES {
        let slot = ifindex.wrapping_add(probe) % ENDPOINT_SLOTS;
        let endpoint = ENDPOINTS.get(slot)?;
        if endpoint.ifindex == ifindex {
            return Some((endpoint, slot));
        }
        probe += 1;
    }
    None
}

/// Whether the pod may use this address as its own. Everything is, while its addresses are not known.
#[inline(always)]
pub(crate) fn owns<F: Family>(cx: &Context, address: F::Address) -> bool {
    !cx.has(CHECK_SOURCE)
        || address == F::own_address(cx.endpoint)
        || address.is_link_local()
        || (cx.has(MORE_SOURCES) && is_further_source::<F>(cx, address))
}

#[inline(always)]
fn is_further_source<F: Family>(cx: &Context, address: F::Address) -> bool {
    let key = SourceKey {
        endpoint: cx.endpoint.id,
        family: u32::from(F::NUMBER),
        address: address.to_bytes(),
    };
    SOURCES.get_ptr(&key).is_some()
}
