//! Finding known meanings in adopted tables, so that a restart writes only what is different.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::catalogue::{IdentityEntry, SetEntry};
use super::class::Class;
use super::plan::{Destination, Goal};
use super::sets::{SetCompiler, SetKey, SetPolicies};
use super::{Compiler, Dirty};
use crate::tables::SetId;

impl Compiler {
    /// Makes everything dirty that is known.
    pub(super) fn everything(&self, dirty: &mut Dirty) {
        dirty.touched.addresses.extend(self.addresses.known());
        dirty.touched.networks.extend(self.addresses.known_cidrs());
        dirty.frontends.extend(self.services.frontends());
        dirty.endpoints.extend(self.endpoints.names().cloned());
        dirty
            .endpoints
            .extend(self.tables.endpoints.keys().cloned());
        dirty
            .endpoints
            .extend(self.addresses.endpoint_names().cloned());
    }

    /// Takes adopted identities and sets for what the catalogue says they are, as far as that is wanted again and the
    /// verdicts in the tables are right. A set in which any verdict is wrong or missing stays unknown: nothing half
    /// written is built upon.
    pub(super) fn recognise(&mut self, goal: &Goal) {
        self.recognise_identities(goal);
        self.recognise_sets(goal);
    }

    fn recognise_identities(&mut self, goal: &Goal) {
        let mut wanted: HashMap<IdentityEntry, Class, RandomState> = HashMap::default();
        for to in goal.places.values() {
            if let Destination::Class(class, _) = to {
                wanted.entry(class.entry()).or_insert_with(|| class.clone());
            }
        }
        for (id, class) in self.live.held(&[]) {
            let Class::Adopted(_) = class else { continue };
            let entry = self.catalogue.identity(id);
            if let Some(class) = entry.and_then(|entry| wanted.remove(entry)) {
                self.live.recognise_identity(id, class);
            }
        }
    }

    fn recognise_sets(&mut self, goal: &Goal) {
        let mut wanted: HashMap<SetEntry, SetKey, RandomState> = HashMap::default();
        for key in goal.endpoints.values().flatten().flatten() {
            if let SetKey::Policies(policies) = key {
                wanted
                    .entry(policies.entry())
                    .or_insert_with(|| key.clone());
            }
        }
        let adopted: Vec<SetId> = self.live.sets().map(|(id, _)| id).collect();
        for id in adopted {
            let entry = self.catalogue.set(id);
            let known = entry.and_then(|entry| wanted.get_key_value(entry));
            let Some((entry, SetKey::Policies(policies))) = known else {
                continue;
            };
            if self.says(id, &policies.clone()) {
                let (entry, key) = (entry.clone(), SetKey::Policies(policies.clone()));
                wanted.remove(&entry);
                self.live.recognise_set(id, key);
            }
        }
    }

    /// Whether the tables say for a set what its policies say, of every identity whose meaning is known.
    fn says(&mut self, id: SetId, policies: &SetPolicies) -> bool {
        let mut compiler = SetCompiler::new(policies, self.policies.memo());
        let known = self.live.held(&[]).into_iter();
        known
            .filter(|(_, class)| !matches!(class, Class::Adopted(_)))
            .all(|(identity, class)| {
                self.tables.table(id, identity) == compiler.table(&class).as_ref()
            })
    }
}
