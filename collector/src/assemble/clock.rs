//! Kernel time to wall time.

use weir_flow::Timestamp;

/// One calibration: what the kernel's two clocks showed when the wall clock showed `wall_ns`. Taken anew every few
/// seconds, so that a step of the wall clock shows in new times only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// CLOCK_REALTIME, ns since the epoch.
    pub wall_ns: i64,
    /// CLOCK_MONOTONIC at the same moment, ns.
    pub monotonic_ns: u64,
    /// Jiffies at the same moment.
    pub jiffies: u64,
    /// Length of one jiffy (HZ differs between kernels), ns.
    pub ns_per_jiffy: u64,
}

impl WallClock {
    /// The wall time of the calibration: "now", as far as one batch of records is concerned.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.wall_ns)
    }

    /// Wall time of a CLOCK_MONOTONIC reading.
    pub fn monotonic(&self, ns: u64) -> Timestamp {
        Timestamp(self.wall_ns + (ns as i64 - self.monotonic_ns as i64))
    }

    /// Wall time of a jiffies reading, to one jiffy.
    pub fn jiffies(&self, jiffies: u64) -> Timestamp {
        let ago = self.jiffies as i64 - jiffies as i64;
        Timestamp(self.wall_ns - ago * self.ns_per_jiffy as i64)
    }

    /// How long ago a jiffies reading was, ns; 0 if it lies ahead.
    pub fn idle_ns(&self, jiffies: u64) -> u64 {
        self.jiffies.saturating_sub(jiffies) * self.ns_per_jiffy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_times_become_wall_times() {
        let clock = WallClock {
            wall_ns: 1_000_000_000,
            monotonic_ns: 500,
            jiffies: 1000,
            ns_per_jiffy: 4_000_000,
        };
        assert_eq!(clock.monotonic(400), Timestamp(999_999_900));
        assert_eq!(clock.jiffies(990), Timestamp(960_000_000));
        assert_eq!(clock.idle_ns(750), 1_000_000_000);
        assert_eq!(clock.idle_ns(2000), 0);
    }
}
