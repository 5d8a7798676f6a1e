//! The program that marks entries as retired, run by user space: see `weir_datapath::abi::retire`.

use crate::atomic;
use crate::maps::{DENIALS4, DENIALS6, ENDPOINT_USE, FLOWS4, FLOWS6};
use crate::skb::Skb;
use aya_ebpf::maps::HashMap;
use core::ptr::addr_of_mut;
use weir_datapath::abi::flow_state::{ESTABLISHED, RETIRED};
use weir_datapath::abi::retire::{
    HEADER_OFFSET, Header, KEYS_OFFSET, MALFORMED, MAX_KEYS, TABLE_DENIALS4, TABLE_DENIALS6,
    TABLE_FLOWS4, TABLE_FLOWS6,
};
use weir_datapath::abi::{Denial, Flow};
use weir_datapath::packet::Plain;

/// Retires the entries that the input names.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> u32 {
    let Some(header) = skb.at::<Header>(HEADER_OFFSET) else {
        return MALFORMED;
    };
    let slot = u32::from(header.slot);
    match header.table {
        TABLE_FLOWS4 => each(skb, header.count, |key| flow(&FLOWS4, key, slot)),
        TABLE_FLOWS6 => each(skb, header.count, |key| flow(&FLOWS6, key, slot)),
        TABLE_DENIALS4 => each(skb, header.count, |key| denial(&DENIALS4, key)),
        TABLE_DENIALS6 => each(skb, header.count, |key| denial(&DENIALS6, key)),
        _ => MALFORMED,
    }
}

#[inline(always)]
fn each<K: Plain>(skb: Skb, count: u8, retire: impl Fn(&K) -> u32) -> u32 {
    let mut retired = 0;
    let mut i = 0;
    while i < MAX_KEYS {
        if i >= count {
            break;
        }
        let Some(key) = skb.at::<K>(KEYS_OFFSET + usize::from(i) * size_of::<K>()) else {
            return MALFORMED;
        };
        retired += retire(&key);
        i += 1;
    }
    retired
}

/// 1 if the entry exists and was not retired before.
#[inline(always)]
fn flow<K>(table: &HashMap<K, Flow>, key: &K, slot: u32) -> u32 {
    let Some(flow) = table.get_ptr_mut(key) else {
        return 0;
    };
    // SAFETY: an entry of the flow table.
    let before = unsafe { atomic::or(addr_of_mut!((*flow).state), RETIRED) };
    if before & RETIRED != 0 {
        return 0;
    }
    if let Some(usage) = ENDPOINT_USE.get_ptr_mut(slot) {
        // SAFETY: an entry of an array.
        unsafe {
            match before & ESTABLISHED {
                0 => atomic::add(addr_of_mut!((*usage).nascent), u64::MAX),
                _ => atomic::add(addr_of_mut!((*usage).flows), u64::MAX),
            }
        }
    }
    1
}

/// The same for a denial.
#[inline(always)]
fn denial<K>(table: &HashMap<K, Denial>, key: &K) -> u32 {
    let Some(denial) = table.get_ptr_mut(key) else {
        return 0;
    };
    // SAFETY: an entry of the denial table.
    let before = unsafe { atomic::or(addr_of_mut!((*denial).state), RETIRED) };
    u32::from(before & RETIRED == 0)
}
