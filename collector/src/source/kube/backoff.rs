//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Delays that double up to half a minute, each cut by up to a half at random, so that the nodes of a cluster do not
/// all come back to a restarted API server at once.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next delay; longer if the server asked for it.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let delay = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(LONGEST);
        delay.max(asked.unwrap_or_default().min(LONGEST))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.0 = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_the_server_may_ask_for_more() {
        let mut backoff = Backoff::default();
        assert!(backoff.next(None) <= FIRST);
        for _ in 0..20 {
            backoff.next(None);
        }
        let late = backoff.next(None);
        assert!(late >= LONGEST / 2 && late <= LONGEST, "{late:?}");
        backoff.reset();
        let asked = Duration::from_secs(7);
        assert_eq!(backoff.next(Some(asked)), asked);
    }
}
