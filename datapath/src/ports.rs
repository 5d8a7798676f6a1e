//! The search of a port table.

use crate::abi::{MAX_PORT_RANGES, PortRange, PortTable, rule};

/// Steps that find one range among [`MAX_PORT_RANGES`].
const STEPS: u32 = MAX_PORT_RANGES.ilog2();

/// The range that holds `key` (`protocol << 16 | port`), or `None`. `range` reads an entry of the arena.
#[inline(always)]
pub fn find<F: Fn(u32) -> Option<PortRange>>(
    table: PortTable,
    key: u32,
    range: F,
) -> Option<PortRange> {
    let mut low = table.first;
    let mut length = table.count;
    let mut step = 0;
    while step < STEPS {
        if length <= 1 {
            break;
        }
        let half = length / 2;
        if range(low.wrapping_add(half))?.low <= key {
            low = low.wrapping_add(half);
        }
        length -= half;
        step += 1;
    }
    range(low).filter(|found| found.low <= key && key <= found.high)
}

/// The rule of a table for `key`, or `None` if nothing there speaks of it.
#[inline(always)]
pub fn rule<F: Fn(u32) -> Option<PortRange>>(table: PortTable, key: u32, range: F) -> Option<u32> {
    match table.count {
        0 => Some(table.first),
        _ => find(table, key, range).map(|found| found.rule),
    }
}

/// Whether a rule found in a port table denies: a Service without backends, or with backends that differ.
#[inline(always)]
pub fn denies(found: u32) -> bool {
    found == rule::NO_BACKENDS || found == rule::MIXED_BACKENDS
}
