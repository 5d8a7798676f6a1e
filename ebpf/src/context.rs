//! What is known about a packet before its headers are looked at.

use crate::maps::{CONTROL, ENDPOINT_SETS};
use crate::skb::Skb;
use weir_datapath::abi::endpoint_flag::{AUDIT, OBSERVE};
use weir_datapath::abi::{Direction, Endpoint, EndpointSets, set};

/// A packet at an endpoint.
pub(crate) struct Context {
    pub(crate) skb: Skb,
    pub(crate) endpoint: &'static Endpoint,
    /// Slot of the endpoint in the maps beside `ENDPOINTS`.
    pub(crate) slot: u32,
    /// The policy epoch, read before every other lookup.
    pub(crate) epoch: u32,
    pub(crate) direction: Direction,
}

/// The current policy epoch.
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    match CONTROL.get_ptr(0) {
        // SAFETY: the array's only entry; user space stores it whole.
        Some(control) => unsafe { core::ptr::addr_of!((*control).epoch).read_volatile() },
        None => 0,
    }
}

impl Context {
    /// The policy set in force in a direction.
    #[inline(always)]
    pub(crate) fn set(&self, direction: Direction) -> u32 {
        let Some(sets) = ENDPOINT_SETS.get_ptr(self.slot) else {
            return set::PENDING_DENY;
        };
        // SAFETY: an entry of an array of 8-byte values; one load, as user space does one store.
        let sets: EndpointSets =
            unsafe { core::mem::transmute(sets.cast::<u64>().read_volatile()) };
        match direction {
            Direction::Ingress => sets.ingress,
            Direction::Egress => sets.egress,
        }
    }

    /// Whether what cannot be judged must not pass in this packet's direction.
    #[inline(always)]
    pub(crate) fn isolated(&self) -> bool {
        let set = self.set(self.direction);
        set >= set::FIRST || set == set::PENDING_DENY
    }

    /// Drops are real: neither audit nor observe mode.
    #[inline(always)]
    pub(crate) fn enforces(&self) -> bool {
        self.endpoint.flags & (AUDIT | OBSERVE) == 0
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.endpoint.flags & flag != 0
    }
}
