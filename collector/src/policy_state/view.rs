//! The policies in force, for reading: explain, status, nearest misses.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_flow::Timestamp;
use weir_policy::model::{Cluster, Name};
use weir_policy::tables::EndpointSets;

/// What is in force, and what was refused since.
#[derive(Clone, Debug, Default)]
pub struct PolicyInForce {
    /// The cluster that was compiled.
    pub cluster: Arc<Cluster>,
    /// Number of the compiled state; 0 before the first.
    pub revision: u64,
    /// The sets of this node's pods.
    pub sets: BTreeMap<Name, EndpointSets>,
    /// The epoch that the kernel judges by.
    pub epoch: u32,
    /// When it came into force.
    pub applied: Timestamp,
    /// Why the last compiled state was not applied.
    pub policy_error: Option<Arc<str>>,
    /// What of the cluster's state is refused, and why; the last good version of it is in force.
    pub refused: Option<Arc<str>>,
    /// How full the policy maps are.
    pub maps: crate::endpoints::MapFill,
}

/// Reads what is in force; clones read the same.
#[derive(Clone, Debug, Default)]
pub struct PolicyReader(Arc<ArcSwap<PolicyInForce>>);

impl PolicyReader {
    /// What is in force now.
    pub fn get(&self) -> Arc<PolicyInForce> {
        self.0.load_full()
    }

    pub(super) fn change(&self, change: impl Fn(&mut PolicyInForce)) {
        self.0.rcu(|current| {
            let mut next = PolicyInForce::clone(current);
            change(&mut next);
            next
        });
    }
}
