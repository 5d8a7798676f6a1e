//! The packet in the kernel's hands.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_pull_data;
use core::ptr::addr_of;
use weir_datapath::packet::{Packet, Plain};

/// Direct packet access is limited to this offset, so that the verifier knows a bound.
const OFFSET_MASK: usize = 0x7ff;
/// How much of a non-linear packet is pulled when its headers cannot be read directly.
const PULL: u32 = 256;

/// A socket buffer. All fields are read by volatile loads: the compiler must not move a load of `data` into the caller
/// of a function that is not inlined (it would arrive there as a number, not as a packet pointer).
#[derive(Clone, Copy)]
pub(crate) struct Skb(pub(crate) *mut __sk_buff);

macro_rules! field {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(self) -> u32 {
            // SAFETY: the kernel hands a valid `__sk_buff` to every program and the verifier checks the access.
            unsafe { addr_of!((*self.0).$name).read_volatile() }
        }
    };
}

impl Skb {
    field! {
        /// Bytes, with the Ethernet header.
        len
    }
    field! { ifindex }
    field! {
        /// Interface the packet came in by; 0 if it came from a local socket.
        ingress_ifindex
    }
    field! { gso_segs }
    field! { vlan_present }
    field! { data }
    field! { data_end }

    /// Wire segments beyond the first.
    #[inline(always)]
    pub(crate) fn extra_segments(self) -> u64 {
        u64::from(self.gso_segs()).saturating_sub(1)
    }

    /// Makes the headers of a non-linear packet directly readable; false if there is nothing more to gain.
    #[inline(always)]
    pub(crate) fn pull(self) -> bool {
        let wanted = self.len().min(PULL);
        // SAFETY: a valid skb, and a length that it has.
        unsafe { bpf_skb_pull_data(self.0, wanted) == 0 }
    }

    /// The `T` at an offset, if it is in the linear part.
    #[inline(always)]
    pub(crate) fn at<T: Plain>(self, offset: usize) -> Option<T> {
        let start = self.data() as usize + (offset & OFFSET_MASK);
        if start + size_of::<T>() > self.data_end() as usize {
            return None;
        }
        // SAFETY: checked against `data_end` just now; BPF loads need no alignment here.
        Some(unsafe { (start as *const T).read() })
    }
}

/// The same packet with its bounds loaded once, for use in a single function and before any [`Skb::pull`].
#[derive(Clone, Copy)]
pub(crate) struct Window {
    start: usize,
    end: usize,
    length: usize,
}

impl Skb {
    #[inline(always)]
    pub(crate) fn window(self) -> Window {
        Window {
            start: self.data() as usize,
            end: self.data_end() as usize,
            length: self.len() as usize,
        }
    }
}

impl Packet for Window {
    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<T: Plain>(&self, at: usize) -> Option<T> {
        let start = self.start + at;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: checked against `data_end` just now; BPF loads need no alignment here.
        Some(unsafe { (start as *const T).read() })
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn length(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    fn read<T: Plain>(&self, at: usize) -> Option<T> {
        self.at(at)
    }
}
