//! Who counted what: entries that live, entries that ended, and endpoints that nobody knows any more.

use std::collections::{HashMap, HashSet};

use weir_datapath::abi::{LedgerCount, LedgerKey};
use weir_flow::{Direction, Tally, Verdict};

use super::entries::{Counted, Entry};
use crate::assemble::{Assembler, Pressure, direction};
use crate::endpoints::{EndpointState, EndpointView};

type Ids = HashSet<u32, foldhash::fast::RandomState>;
type Sums = HashMap<Line, Tally, foldhash::fast::RandomState>;

/// What packets are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) endpoint: u32,
    pub(super) direction: Direction,
    pub(super) verdict: Verdict,
    /// The kernel's number.
    pub(super) reason: u8,
}

/// Counts of all entries. Those of entries that an earlier run of the collector read for the last time are not in it.
#[derive(Debug)]
pub(super) struct Book {
    living: Sums,
    ended: Sums,
    /// How full the tables were at the last sweep.
    pub(super) pressure: Pressure,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            living: Sums::default(),
            ended: Sums::default(),
            pressure: Pressure::Normal,
        }
    }
}

impl Book {
    /// A sweep begins: what lives is counted anew.
    pub(super) fn begin(&mut self) {
        self.living.clear();
    }

    /// A sweep met an entry.
    pub(super) fn living<K: Entry>(&mut self, key: &K, value: &K::Value) {
        let endpoint = key.entry().endpoint();
        key.count(value, |counted| add(&mut self.living, endpoint, counted));
    }

    /// An entry was read for the last time.
    pub(super) fn ended<K: Entry>(&mut self, key: &K, value: &K::Value) {
        let endpoint = key.entry().endpoint();
        key.count(value, |counted| add(&mut self.ended, endpoint, counted));
    }

    /// Drops the sums of endpoints that nobody knows any more.
    pub(super) fn forget(&mut self, endpoints: &EndpointView) {
        self.ended
            .retain(|line, _| endpoints.get(line.endpoint).is_some());
    }

    /// Everything counted at an endpoint: in entries, and in the kernel's ledger.
    pub(super) fn total(&self, ledger: &[(LedgerKey, LedgerCount)]) -> Sums {
        let mut sums = self.living.clone();
        for (line, tally) in &self.ended {
            sum(sums.entry(*line).or_default(), *tally);
        }
        for (key, count) in ledger {
            let line = Line {
                endpoint: key.endpoint,
                direction: direction(key.direction),
                verdict: verdict(key.verdict),
                reason: key.reason,
            };
            let tally = Tally {
                packets: count.tally.packets,
                bytes: count.tally.bytes,
                segments: count.tally.packets + count.extra_segments,
            };
            sum(sums.entry(line).or_default(), tally);
        }
        sums
    }
}

fn add(sums: &mut Sums, endpoint: u32, counted: Counted) {
    let Counted {
        direction,
        verdict,
        reason,
        packets,
        bytes,
        segments,
    } = counted;
    let line = Line {
        endpoint,
        direction,
        verdict,
        reason,
    };
    sum(
        sums.entry(line).or_default(),
        Tally {
            packets,
            bytes,
            segments,
        },
    );
}

fn sum(sums: &mut Tally, more: Tally) {
    sums.packets += more.packets;
    sums.bytes += more.bytes;
    sums.segments += more.segments;
}

fn verdict(number: u8) -> Verdict {
    use weir_datapath::abi::Verdict as Kernel;
    match number {
        number if number == Kernel::Deny as u8 => Verdict::Dropped,
        number if number == Kernel::Audit as u8 => Verdict::Audit,
        _ => Verdict::Forwarded,
    }
}

/// Endpoints that entries name and nobody knows: what they left has ended. An endpoint that has just come may be met
/// before it is known, so one sweep's word is not enough.
#[derive(Debug, Default)]
pub(super) struct Missing {
    known: Ids,
    seen: Ids,
    gone: Ids,
}

impl Missing {
    /// A sweep begins. Tells the assembler which endpoints are gone.
    pub(super) fn begin(&mut self, endpoints: &EndpointView, assembler: &mut Assembler) {
        let all = endpoints.all();
        let living = all
            .iter()
            .filter(|endpoint| endpoint.state != EndpointState::Gone);
        self.known = living.map(|endpoint| endpoint.id).collect();
        self.gone = std::mem::take(&mut self.seen);
        self.gone.retain(|id| !self.known.contains(id));
        let ended = all
            .iter()
            .filter(|endpoint| endpoint.state == EndpointState::Gone);
        assembler.set_gone(
            self.gone
                .iter()
                .copied()
                .chain(ended.map(|endpoint| endpoint.id))
                .collect(),
        );
    }

    /// An entry, or a line of the ledger, names an endpoint.
    pub(super) fn meet(&mut self, endpoint: u32) {
        if !self.known.contains(&endpoint) {
            self.seen.insert(endpoint);
        }
    }

    /// Whether two sweeps have met an endpoint that nobody knows.
    pub(super) fn is_gone(&self, endpoint: u32) -> bool {
        self.gone.contains(&endpoint)
    }
}
