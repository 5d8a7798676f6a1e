//! Who has what several may claim: an address, a front end.

use std::collections::HashMap;
use std::hash::Hash;

/// Claims to keys. Of several claimants of one key, the one of the highest rank has it. A rank is one claimant's only.
#[derive(Debug)]
pub(super) struct Claims<K, R, V> {
    table: HashMap<K, Claimants<R, V>, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Claimants<R, V> {
    first: (R, V),
    others: Vec<(R, V)>,
}

/// What a change of a claim did to its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shift<V> {
    /// It has the value that it had.
    None,
    /// It has another value.
    To(V),
    /// Nobody claims it any more.
    Gone,
}

impl<K, R, V> Default for Claims<K, R, V> {
    fn default() -> Self {
        Self {
            table: HashMap::default(),
        }
    }
}

impl<K: Hash + Eq, R: Ord, V: Clone + PartialEq> Claims<K, R, V> {
    /// Withdraws a claim, makes one, or both as one step.
    pub(super) fn set(&mut self, key: K, old: Option<&R>, new: Option<(R, V)>) -> Shift<V> {
        let claimants = self.table.remove(&key);
        let before = claimants
            .as_ref()
            .map(|claimants| claimants.first.1.clone());
        let mut all = claimants.map(Claimants::into_vec).unwrap_or_default();
        all.retain(|(rank, _)| {
            Some(rank) != old && new.as_ref().is_none_or(|(claim, _)| rank != claim)
        });
        all.extend(new);
        let Some(claimants) = Claimants::of(all) else {
            return match before {
                Some(_) => Shift::Gone,
                None => Shift::None,
            };
        };
        let after = claimants.first.1.clone();
        self.table.insert(key, claimants);
        if before.as_ref() == Some(&after) {
            Shift::None
        } else {
            Shift::To(after)
        }
    }
}

impl<R: Ord, V> Claimants<R, V> {
    fn of(mut all: Vec<(R, V)>) -> Option<Self> {
        let highest = (0..all.len()).max_by(|a, b| all[*a].0.cmp(&all[*b].0))?;
        let first = all.swap_remove(highest);
        all.shrink_to_fit(); // to nothing, nearly always
        Some(Self { first, others: all })
    }

    fn into_vec(mut self) -> Vec<(R, V)> {
        self.others.push(self.first);
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rank_has_it_and_the_next_one_after_it() {
        let mut claims = Claims::<u8, u8, &str>::default();
        assert_eq!(claims.set(1, None, Some((1, "node"))), Shift::To("node"));
        assert_eq!(claims.set(1, None, Some((5, "pod"))), Shift::To("pod"));
        assert_eq!(claims.set(1, None, Some((3, "old pod"))), Shift::None);
        assert_eq!(claims.set(1, Some(&5), None), Shift::To("old pod"));
        assert_eq!(claims.set(1, Some(&3), None), Shift::To("node"));
        assert_eq!(claims.set(1, Some(&1), None), Shift::Gone);
        assert_eq!(claims.set(1, Some(&1), None), Shift::None);
    }

    #[test]
    fn a_claimant_that_changes_keeps_the_key_throughout() {
        let mut claims = Claims::<u8, u8, &str>::default();
        claims.set(1, None, Some((5, "pod")));
        assert_eq!(claims.set(1, Some(&5), Some((4, "pod"))), Shift::None);
        assert_eq!(
            claims.set(1, None, Some((4, "renamed"))),
            Shift::To("renamed")
        );
        assert_eq!(claims.set(1, Some(&4), None), Shift::Gone);
    }
}
