//! What the catalogue's numbers are called in records.

use std::sync::Arc;

use weir_flow::{Direction, PolicyRef, Rule};
use weir_policy::compile::{Catalogue, Compiler, Mark, Stored};
use weir_policy::model::{self, Name};
use weir_policy::tables::{IdentityId, SetId};

use crate::names::{Names, Revisions};

/// Sets that are described although no endpoint has them: flows and denials that they judged may be there still.
const OLD_SETS: u32 = 8192;
/// The same of identities, which only explain what the kernel holds.
const OLD_IDENTITIES: u32 = 1024;
const KIND: &str = "NetworkPolicy";

/// Lets records name what the catalogue numbers.
#[derive(Debug, Default)]
pub(super) struct Named(Mark);

impl Named {
    /// Everything that an earlier run numbered.
    pub(super) fn all(names: &Names, catalogue: &Catalogue, revisions: &Revisions) -> Self {
        name(names, &catalogue.added(Mark::default()));
        for (epoch, revision) in revisions.iter() {
            names.put_revision(epoch, revision);
        }
        Self(catalogue.mark())
    }

    /// What is new, and the revision that the next epoch stands for.
    pub(super) fn next(&mut self, names: &Names, catalogue: &Catalogue, epoch: u32, revision: u64) {
        name(names, &catalogue.added(self.0));
        self.0 = catalogue.mark();
        names.put_revision(epoch, revision);
        let oldest = self.0.set.0.saturating_sub(OLD_SETS);
        names.retain_sets(|set| set >= oldest || catalogue.set(SetId(set)).is_some());
    }
}

/// Forgets sets and identities that nothing in the kernel can bear any more.
pub(super) fn prune(compiler: &mut Compiler) {
    let next = compiler.catalogue().mark();
    let set = next.set.0.saturating_sub(OLD_SETS);
    let identity = next.identity.0.saturating_sub(OLD_IDENTITIES);
    compiler.prune_catalogue(|id: SetId| id.0 >= set, |id: IdentityId| id.0 >= identity);
}

fn name(names: &Names, added: &Stored) {
    for (id, entry) in &added.rules {
        let rule = Rule::Policy {
            policy: policy(&entry.policy),
            direction: match entry.direction {
                model::Direction::Ingress => Direction::Ingress,
                model::Direction::Egress => Direction::Egress,
            },
            index: entry.index,
        };
        names.put_rule(id.0, Arc::new(rule));
    }
    for (id, entry) in &added.sets {
        names.put_set(id.0, entry.policies.iter().map(policy).collect());
    }
}

fn policy(name: &Name) -> PolicyRef {
    PolicyRef {
        kind: KIND.into(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}
