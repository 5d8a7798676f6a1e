//! Fragments: the first one's ports are remembered, the later ones follow it.

use crate::context::Context;
use crate::family::Family;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use weir_datapath::abi::{Direction, Fragment, endpoint_protocol};
use weir_datapath::packet::Parsed;

/// How long later fragments may follow, ns.
const LIFETIME_NS: u64 = 30_000_000_000;

/// Endpoint and direction, as fragment keys have them: a spoofed first fragment from the pod must not name the ports of
/// fragments to it.
#[inline(always)]
fn scope(cx: &Context) -> u32 {
    let direction = match cx.direction {
        Direction::Ingress => 0,
        Direction::Egress => 1 << 31,
    };
    endpoint_protocol(cx.endpoint.id, 0) ^ direction
}

/// Keeps the ports of a first fragment.
#[inline(never)]
pub(crate) fn remember<F: Family>(cx: &Context, parsed: &Parsed<F::Address>) {
    let fragment = Fragment {
        source_port: parsed.source_port,
        destination_port: parsed.destination_port,
        protocol: u32::from(parsed.protocol),
        // SAFETY: the helper has no precondition.
        seen_ns: unsafe { bpf_ktime_get_coarse_ns() },
    };
    // An LRU map makes room; if even that fails, later fragments count as ahead of their first.
    let _ = F::fragments().insert(&F::fragment_key(parsed, scope(cx)), &fragment, 0);
}

/// Gives a later fragment the ports of its first; false if that one was not seen, or too long ago.
#[inline(never)]
pub(crate) fn recall<F: Family>(cx: &Context, parsed: &mut Parsed<F::Address>) -> bool {
    // SAFETY: an LRU entry may be reused meanwhile; then ports of another packet are read, as with any late lookup.
    let Some(first) = (unsafe { F::fragments().get(&F::fragment_key(parsed, scope(cx))) }) else {
        return false;
    };
    // SAFETY: the helper has no precondition.
    if unsafe { bpf_ktime_get_coarse_ns() }.wrapping_sub(first.seen_ns) > LIFETIME_NS {
        return false;
    }
    parsed.source_port = first.source_port;
    parsed.destination_port = first.destination_port;
    parsed.protocol = first.protocol as u8;
    true
}
