//! The floor: IPv4 by direct access, a 16-byte key, one lookup in a preallocated hash, two atomic adds, no clock. It
//! judges nothing, keeps no time, no TCP state and no reason, and knows neither options nor fragments.

use crate::NEXT;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::TcContext;
use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// `TC_ACT_SHOT`: no entry; the bench takes it for a fault.
const MISS: i32 = 2;

/// Ethernet, IPv4 without options, ports.
#[repr(C, packed)]
struct Headers {
    macs: [u8; 12],
    ethertype: u16,
    version_ihl: u8,
    before_protocol: [u8; 8],
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
    ports: u32,
}

#[repr(C)]
struct Key {
    source: u32,
    destination: u32,
    ports: u32,
    protocol: u32,
}

#[repr(C)]
struct Count {
    packets: u64,
    bytes: u64,
}

#[map]
static FLOOR: HashMap<Key, Count> = HashMap::with_max_entries(131_072, 0);

#[inline(always)]
pub(crate) fn floor(ctx: &TcContext) -> i32 {
    let start = ctx.data();
    if start + size_of::<Headers>() > ctx.data_end() {
        return MISS;
    }
    let headers = start as *const Headers;
    // SAFETY: checked against `data_end` just now; a packed struct is read field by field.
    let key = unsafe {
        if (*headers).ethertype != 0x0800_u16.to_be() || (*headers).version_ihl != 0x45 {
            return MISS;
        }
        Key {
            source: (*headers).source,
            destination: (*headers).destination,
            ports: (*headers).ports,
            protocol: u32::from((*headers).protocol),
        }
    };
    let Some(count) = FLOOR.get_ptr_mut(&key) else {
        return MISS;
    };
    // SAFETY: an entry of the table.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*count).packets, 1);
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(
            &raw mut (*count).bytes,
            u64::from(ctx.len()),
        );
    }
    NEXT
}
