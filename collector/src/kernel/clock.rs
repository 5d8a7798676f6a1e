//! Kernel time to wall time. The programs stamp packets in jiffies, because reading those costs nothing; how long a
//! jiffy is, and when they began, must be measured: HZ is a build option that user space is not told.

use std::io;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::ProgramFd;
use nix::time::{ClockId, clock_gettime};
use weir_datapath::abi::{ClockPair, maps, programs};

use super::KernelError;
use super::error::map_error;
use super::load::{program_fd, take};
use super::sys;
use crate::assemble::WallClock;

const SECOND: u64 = 1_000_000_000;
/// The values that `CONFIG_HZ` can have.
const HERTZ: [u64; 4] = [100, 250, 300, 1000];
/// Long enough to tell 250 from 300, one tick of error at each end included.
const MEASURE: Duration = Duration::from_millis(120);

/// Reads the kernel's clocks.
pub struct KernelClock {
    program: ProgramFd,
    pair: Array<MapData, ClockPair>,
    hertz: u64,
}

impl KernelClock {
    /// Measures HZ; takes an eighth of a second.
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let mut clock = Self {
            program: program_fd(ebpf, programs::CLOCK)?,
            pair: take(ebpf, maps::CLOCK)?,
            hertz: 0,
        };
        let first = clock.read()?;
        thread::sleep(MEASURE);
        clock.hertz = nearest(hertz(first, clock.read()?));
        Ok(clock)
    }

    /// What the clocks show now. To be taken anew every few seconds, so that a step of the wall clock shows in new
    /// times only.
    ///
    /// # Errors
    ///
    /// [`KernelError::Run`] if the clock program fails.
    pub fn wall(&self) -> Result<WallClock, KernelError> {
        let pair = self.read()?;
        let monotonic = now(ClockId::CLOCK_MONOTONIC)?;
        let wall = now(ClockId::CLOCK_REALTIME)?;
        let since = monotonic.saturating_sub(pair.monotonic_ns);
        Ok(WallClock {
            wall_ns: wall.saturating_sub(since) as i64,
            monotonic_ns: pair.monotonic_ns,
            jiffies: pair.jiffies,
            ns_per_jiffy: SECOND / self.hertz,
        })
    }

    /// The jiffies that the kernel will show when `time` has passed.
    ///
    /// # Errors
    ///
    /// As [`KernelClock::wall`].
    pub fn jiffies_in(&self, time: Duration) -> Result<u64, KernelError> {
        let ticks = time.as_nanos() * u128::from(self.hertz) / u128::from(SECOND);
        Ok(self.read()?.jiffies.saturating_add(ticks as u64))
    }

    fn read(&self) -> Result<ClockPair, KernelError> {
        let packet = [0_u8; 14]; // the least that a run takes: an Ethernet header
        sys::test_run(self.program.as_fd(), &packet, None).map_err(|error| run_error(&error))?;
        self.pair
            .get(&0, 0)
            .map_err(|error| map_error("reading", maps::CLOCK, error))
    }
}

/// Ticks a second between two readings.
fn hertz(first: ClockPair, second: ClockPair) -> u64 {
    let ticks = second.jiffies.saturating_sub(first.jiffies);
    ticks * SECOND
        / second
            .monotonic_ns
            .saturating_sub(first.monotonic_ns)
            .max(1)
}

fn nearest(measured: u64) -> u64 {
    HERTZ
        .into_iter()
        .min_by_key(|hertz| hertz.abs_diff(measured))
        .unwrap_or(HERTZ[1])
}

fn now(clock: ClockId) -> Result<u64, KernelError> {
    let time = clock_gettime(clock).map_err(|errno| run_error(&io::Error::from(errno)))?;
    Ok(time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64)
}

fn run_error(error: &io::Error) -> KernelError {
    KernelError::Run {
        program: programs::CLOCK,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hz_is_told_from_a_short_measurement_with_a_tick_of_error() {
        for hz in HERTZ {
            for error in [-1_i64, 0, 1] {
                let ticks = (120 * hz / 1000) as i64 + error;
                let first = ClockPair {
                    monotonic_ns: 5,
                    jiffies: 4_294_892_296,
                };
                let second = ClockPair {
                    monotonic_ns: 5 + 120_000_000,
                    jiffies: first.jiffies + ticks as u64,
                };
                assert_eq!(nearest(hertz(first, second)), hz);
            }
        }
    }
}
