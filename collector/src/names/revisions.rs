//! Which policy revision each epoch of the kernel stands for.
//!
//! Both count by one with nearly every change, many times a second in a busy cluster. So runs of them are kept, not pairs.

use std::collections::BTreeMap;

/// Runs that are remembered.
const MAX_RUNS: usize = 4096;

/// Revisions by epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// The first epoch of a run, and its revision.
    runs: BTreeMap<u32, u64>,
    /// The last epoch that is known.
    last: u32,
}

impl Revisions {
    /// The revision of an epoch, if it is known.
    pub fn get(&self, epoch: u32) -> Option<u64> {
        if epoch > self.last {
            return None;
        }
        self.within_run(epoch)
    }

    /// By this epoch, this revision came into force. Epochs come in their order.
    pub fn put(&mut self, epoch: u32, revision: u64) {
        if self.within_run(epoch) != Some(revision) {
            self.runs.insert(epoch, revision);
        }
        self.last = epoch;
        while self.runs.len() > MAX_RUNS {
            self.runs.pop_first();
        }
    }

    /// Epochs and revisions from which the same is made again.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        let last = self.get(self.last).map(|revision| (self.last, revision));
        let runs = self
            .runs
            .iter()
            .map(|(epoch, revision)| (*epoch, *revision));
        runs.chain(last)
    }

    fn within_run(&self, epoch: u32) -> Option<u64> {
        let (first, revision) = self.runs.range(..=epoch).next_back()?;
        Some(revision + u64::from(epoch - first))
    }
}

impl FromIterator<(u32, u64)> for Revisions {
    fn from_iter<I: IntoIterator<Item = (u32, u64)>>(pairs: I) -> Self {
        let mut revisions = Self::default();
        for (epoch, revision) in pairs {
            revisions.put(epoch, revision);
        }
        revisions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_costs_nothing_and_a_jump_begins_another() {
        let revisions: Revisions = (10..1000)
            .map(|epoch| (epoch, u64::from(epoch) + 5))
            .collect();
        assert_eq!(revisions.runs.len(), 1);
        assert_eq!(revisions.get(500), Some(505));
        assert_eq!((revisions.get(9), revisions.get(1000)), (None, None));
        let mut jumped = revisions.clone();
        jumped.put(1000, 2000);
        jumped.put(1001, 2001);
        assert_eq!(
            (jumped.get(999), jumped.get(1001)),
            (Some(1004), Some(2001))
        );
        assert_eq!(jumped.iter().collect::<Revisions>(), jumped);
    }

    #[test]
    fn an_epoch_that_was_tried_again_is_the_last_revision_that_was_tried() {
        let mut revisions: Revisions = [(1, 1), (2, 2)].into_iter().collect();
        revisions.put(3, 3);
        revisions.put(3, 4);
        assert_eq!((revisions.get(2), revisions.get(3)), (Some(2), Some(4)));
    }

    #[test]
    fn the_oldest_runs_are_forgotten() {
        let revisions: Revisions = (0..10_000)
            .map(|epoch| (epoch, u64::from(epoch) * 2))
            .collect();
        assert_eq!(revisions.runs.len(), MAX_RUNS);
        assert_eq!(
            (revisions.get(0), revisions.get(9_999)),
            (None, Some(19_998))
        );
    }
}
