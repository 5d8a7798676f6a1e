//! The four tables' entries, alike.

use weir_datapath::abi::{Denial, DenialKey4, DenialKey6, Flow, FlowKey4, FlowKey6, maps};
use weir_flow::{EndReason, Item};

use crate::assemble::{Assembler, Disposition, EntryKey, Pressure, WallClock};
use crate::kernel::TableKey;

/// The key of an entry, and what the assembler makes of it.
pub(super) trait Entry: TableKey {
    /// The table's name.
    const NAME: &'static str;

    /// The key, whatever the table.
    fn entry(&self) -> EntryKey;

    /// The state bits of a value.
    fn state(value: &Self::Value) -> u32;

    /// A sweep met it.
    fn meet(
        &self,
        assembler: &mut Assembler,
        value: &Self::Value,
        clock: &WallClock,
        pressure: Pressure,
        out: &mut impl FnMut(Item),
    ) -> Disposition;

    /// It was read for the last time.
    fn finish(
        &self,
        assembler: &mut Assembler,
        value: &Self::Value,
        why: EndReason,
        clock: &WallClock,
        out: &mut impl FnMut(Item),
    );

    /// Reports its packets: to the pod or from it, passed or dropped.
    fn count(&self, value: &Self::Value, add: impl FnMut(Counted));
}

/// What an entry has counted in one direction under one verdict. It only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) direction: weir_flow::Direction,
    pub(super) verdict: weir_flow::Verdict,
    pub(super) reason: u8,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) segments: u64,
}

macro_rules! flow_entry {
    ($key:ty, $variant:ident, $map:expr) => {
        impl Entry for $key {
            const NAME: &'static str = $map;

            fn entry(&self) -> EntryKey {
                EntryKey::$variant(*self)
            }

            fn state(value: &Flow) -> u32 {
                value.state
            }

            fn meet(
                &self,
                assembler: &mut Assembler,
                value: &Flow,
                clock: &WallClock,
                pressure: Pressure,
                out: &mut impl FnMut(Item),
            ) -> Disposition {
                assembler.flow(&self.entry(), value, clock, pressure, out)
            }

            fn finish(
                &self,
                assembler: &mut Assembler,
                value: &Flow,
                why: EndReason,
                clock: &WallClock,
                out: &mut impl FnMut(Item),
            ) {
                assembler.retired_flow(&self.entry(), value, why, clock, out);
            }

            fn count(&self, value: &Flow, add: impl FnMut(Counted)) {
                count_flow(value, add);
            }
        }
    };
}

macro_rules! denial_entry {
    ($key:ty, $variant:ident, $map:expr) => {
        impl Entry for $key {
            const NAME: &'static str = $map;

            fn entry(&self) -> EntryKey {
                EntryKey::$variant(*self)
            }

            fn state(value: &Denial) -> u32 {
                value.state
            }

            fn meet(
                &self,
                assembler: &mut Assembler,
                value: &Denial,
                clock: &WallClock,
                _: Pressure,
                out: &mut impl FnMut(Item),
            ) -> Disposition {
                assembler.denial(&self.entry(), value, clock, out)
            }

            fn finish(
                &self,
                assembler: &mut Assembler,
                value: &Denial,
                why: EndReason,
                clock: &WallClock,
                out: &mut impl FnMut(Item),
            ) {
                assembler.retired_denial(&self.entry(), value, why, clock, out);
            }

            fn count(&self, value: &Denial, mut add: impl FnMut(Counted)) {
                if value.dropped.packets > 0 {
                    add(Counted {
                        direction: crate::assemble::direction(self.direction),
                        verdict: weir_flow::Verdict::Dropped,
                        reason: self.reason,
                        packets: value.dropped.packets,
                        bytes: value.dropped.bytes,
                        segments: value.dropped.packets + value.extra_segments,
                    });
                }
            }
        }
    };
}

flow_entry!(FlowKey4, Flow4, maps::FLOWS4);
flow_entry!(FlowKey6, Flow6, maps::FLOWS6);
denial_entry!(DenialKey4, Denial4, maps::DENIALS4);
denial_entry!(DenialKey6, Denial6, maps::DENIALS6);

/// All incarnations of the tuple together, as the entry has them.
fn count_flow(flow: &Flow, mut add: impl FnMut(Counted)) {
    use weir_datapath::abi::flow_state::AUDIT;
    use weir_flow::Direction::{Egress, Ingress};
    use weir_flow::Verdict;
    let passed = if flow.state & AUDIT == 0 {
        Verdict::Forwarded
    } else {
        Verdict::Audit
    };
    let lines = [
        (Egress, passed, flow.egress, flow.egress_extra_segments),
        (Ingress, passed, flow.ingress, flow.ingress_extra_segments),
        (Egress, Verdict::Dropped, flow.egress_dropped, 0),
        (Ingress, Verdict::Dropped, flow.ingress_dropped, 0),
    ];
    for (direction, verdict, tally, extra) in lines {
        if tally.packets > 0 {
            add(Counted {
                direction,
                verdict,
                reason: flow.reason as u8,
                packets: tally.packets,
                bytes: tally.bytes,
                segments: tally.packets + extra,
            });
        }
    }
}
