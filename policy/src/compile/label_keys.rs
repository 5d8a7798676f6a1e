//! The labels by which policies can tell peers apart.
//!
//! Most labels of a pod are in no policy: a hash of its template, its own name in a StatefulSet. If they made classes,
//! there would be about as many as pods, and a verdict for each of them in every set.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Direction, Labels, NetworkPolicy, Peer};

/// The keys of labels by which some policy selects peers. One that was needed once stays: classes that are finer than
/// they must be are as right, and pods need not change theirs again.
#[derive(Debug, Default)]
pub(crate) struct LabelKeys(BTreeSet<Arc<str>>);

/// Whether more is seen of pods than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Same,
    Sharper,
}

impl LabelKeys {
    /// Takes keys in.
    pub(crate) fn add(&mut self, keys: BTreeSet<Arc<str>>) -> Sight {
        let before = self.0.len();
        self.0.extend(keys);
        if self.0.len() == before {
            Sight::Same
        } else {
            Sight::Sharper
        }
    }

    /// What policies see of labels.
    pub(crate) fn seen(&self, labels: &Labels) -> Labels {
        if labels.iter().all(|(key, _)| self.0.contains(key)) {
            return labels.clone();
        }
        let seen = labels.iter().filter(|(key, _)| self.0.contains(*key));
        seen.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// The keys by which a policy selects peers.
pub(crate) fn keys_of_peers(policy: &NetworkPolicy) -> impl Iterator<Item = &Arc<str>> {
    let rules = Direction::BOTH
        .into_iter()
        .flat_map(|direction| policy.rules(direction));
    let selectors = rules
        .flat_map(|rule| &rule.peers)
        .filter_map(|peer| match peer {
            Peer::Pods { pod_selector, .. } => pod_selector.as_ref(),
            Peer::IpBlock(_) => None,
        });
    selectors.flat_map(|selector| {
        let expressions = selector.match_expressions.iter();
        let labels = selector.match_labels.keys();
        labels.chain(expressions.map(|requirement| &requirement.key))
    })
}
