//! The ledger, the programs' own counters, and how full the tables are.

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use weir_datapath::abi::{COUNTER_ENTRIES, Counter, LedgerCount, LedgerKey, Tally, maps};

use super::KernelError;
use super::error::map_error;
use super::load::take;

/// Handles of the ledger and the counters.
pub struct Counters {
    ledger: PerCpuHashMap<MapData, LedgerKey, LedgerCount>,
    counters: PerCpuArray<MapData, u64>,
}

/// Sums over all CPUs since the maps were made. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterSums([u64; COUNTER_ENTRIES as usize]);

impl CounterSums {
    /// One of them. [`Counter::Serial`] is no sum of anything.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }
}

impl Counters {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            ledger: take(ebpf, maps::LEDGER)?,
            counters: take(ebpf, maps::COUNTERS)?,
        })
    }

    /// Calls `visit` for every line of the ledger, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn ledger(
        &self,
        mut visit: impl FnMut(&LedgerKey, LedgerCount),
    ) -> Result<(), KernelError> {
        for line in self.ledger.iter() {
            let (key, counts) = line.map_err(|error| map_error("reading", maps::LEDGER, error))?;
            visit(
                &key,
                counts.iter().copied().fold(LedgerCount::default(), add),
            );
        }
        Ok(())
    }

    /// Removes an endpoint's line, once the endpoint is gone and the line has been read for the last time.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn remove_line(&mut self, key: &LedgerKey) -> Result<(), KernelError> {
        self.ledger
            .remove(key)
            .map_err(|error| map_error("writing", maps::LEDGER, error))
    }

    /// The programs' own counters.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn sums(&self) -> Result<CounterSums, KernelError> {
        let mut sums = CounterSums::default();
        for (index, sum) in (0..).zip(&mut sums.0) {
            let counts = self
                .counters
                .get(&index, 0)
                .map_err(|error| map_error("reading", maps::COUNTERS, error))?;
            *sum = counts.iter().sum();
        }
        Ok(sums)
    }
}

fn add(sum: LedgerCount, part: LedgerCount) -> LedgerCount {
    LedgerCount {
        tally: Tally {
            packets: sum.tally.packets + part.tally.packets,
            bytes: sum.tally.bytes + part.tally.bytes,
        },
        extra_segments: sum.extra_segments + part.extra_segments,
    }
}
