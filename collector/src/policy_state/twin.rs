//! The cluster, for one who changes it often and readers who want it whole.
//!
//! A snapshot that is shared cannot be changed, and copying a large cluster for every change would cost more than the
//! change. So there are two: one is read, the other is brought up to date while nobody reads it, and they swap.

use std::sync::Arc;

use weir_policy::model::{Cluster, ObjectChange};

/// Changes that the other one may lack before it is thrown away.
const MAX_BEHIND: usize = 100_000;

/// A cluster and its former self.
#[derive(Debug, Default)]
pub(super) struct Twin {
    current: Arc<Cluster>,
    /// The other one, and what it lacks.
    other: Option<Arc<Cluster>>,
    behind: Vec<ObjectChange>,
}

impl Twin {
    /// The cluster as it is. What is read of it later does not change it.
    pub(super) fn snapshot(&self) -> Arc<Cluster> {
        self.current.clone()
    }

    /// The cluster, for a look.
    pub(super) fn get(&self) -> &Cluster {
        &self.current
    }

    /// Brings changes about.
    pub(super) fn apply(&mut self, changes: &[ObjectChange]) {
        if let Some(current) = Arc::get_mut(&mut self.current) {
            changes
                .iter()
                .for_each(|change| current.apply(change.clone()));
            if self.other.is_some() && self.behind.len() + changes.len() <= MAX_BEHIND {
                self.behind.extend_from_slice(changes);
            } else {
                self.other = None;
                self.behind = Vec::new(); // a first list's would be large
            }
            return;
        }
        let other = self.other.take().and_then(Arc::into_inner);
        let mut next = match other {
            Some(mut other) => {
                self.behind.drain(..).for_each(|change| other.apply(change));
                other
            }
            None => Cluster::clone(&self.current), // the first time, or somebody still reads it
        };
        changes.iter().for_each(|change| next.apply(change.clone()));
        self.behind = changes.to_vec();
        self.other = Some(std::mem::replace(&mut self.current, Arc::new(next)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_policy::model::{Kind, Labels, Name, Namespace, Object};

    use super::*;

    fn change((name, label): (u8, Option<u8>)) -> ObjectChange {
        let name = format!("n{name}");
        match label {
            None => ObjectChange::Remove(Kind::Namespace, Name::new("", name)),
            Some(label) => {
                let labels = Labels::from_iter([("label", label.to_string())]);
                let namespace = Namespace::new(&name, &labels);
                ObjectChange::Upsert(Object::Namespace(Arc::new(namespace)))
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_the_cluster_that_all_changes_make_whoever_reads_it(
            batches in prop::collection::vec(
                (prop::collection::vec((0u8..6, prop::option::of(0u8..3)), 0..4), 0u8..4), 0..20),
        ) {
            let (mut twin, mut plain) = (Twin::default(), Cluster::default());
            let mut readers: Vec<(Arc<Cluster>, Cluster)> = Vec::new();
            for (changes, reading) in batches {
                let changes: Vec<_> = changes.into_iter().map(change).collect();
                twin.apply(&changes);
                changes.into_iter().for_each(|change| plain.apply(change));
                prop_assert_eq!(twin.get(), &plain);
                match reading {
                    0 => readers.push((twin.snapshot(), plain.clone())),
                    1 => readers.clear(),
                    2 => drop(readers.pop()),
                    _ => {}
                }
                for (read, then) in &readers {
                    prop_assert_eq!(&**read, then);
                }
            }
        }
    }
}
