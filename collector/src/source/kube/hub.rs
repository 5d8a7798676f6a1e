//! News of all kinds, made into changes for the compiler: none before all first lists are complete, none of a new pod of
//! this node before its policies are known, deletions by relist included.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tracing::{error, info};
use weir_policy::model::{Kind, Name, Object, ObjectChange, Pod};

use super::fresh::Answer;
use super::held::Held;
use super::index::{Index, Outcome, Refused, Remains};
use super::intern::Interner;
use super::kinds::RESOURCES;
use super::watch::{News, Told};
use crate::source::Batch;

/// The most refused objects that a status names.
const MAX_NAMED: usize = 5;

/// Changes that wait to be handed on: the last one of each object.
#[derive(Debug, Default)]
struct Pending {
    changes: HashMap<(Kind, Name), ObjectChange, foldhash::fast::RandomState>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// What is known, and what of it is still to be handed on.
pub(super) struct Hub {
    node: Arc<str>,
    indexes: BTreeMap<Kind, Index>,
    interner: Interner,
    held: Held,
    /// The uids of this node's pods that were handed on.
    local: BTreeMap<Name, Arc<str>>,
    pending: Pending,
    /// What lists that are still going on have changed.
    listed: BTreeMap<Kind, Vec<ObjectChange>>,
    refused: Option<Arc<str>>,
    /// What is kept for a later run, as it was asked for last.
    kept: String,
    is_open: bool,
}

impl Hub {
    /// Knows nothing yet but what an earlier run kept of refused policies.
    pub(super) fn new(node: Arc<str>, kept: &[Value]) -> Self {
        let kinds = RESOURCES.iter().map(|resource| resource.kind);
        let mut hub = Self {
            interner: Interner::new(node.clone()),
            node,
            indexes: kinds.map(|kind| (kind, Index::new(kind))).collect(),
            held: Held::default(),
            local: BTreeMap::new(),
            pending: Pending::default(),
            listed: BTreeMap::new(),
            refused: None,
            kept: String::new(),
            is_open: false,
        };
        if let Some(policies) = hub.indexes.get_mut(&Kind::NetworkPolicy) {
            policies.restore(kept);
        }
        hub
    }

    /// Takes a piece of news. What is to be reported as refused comes back.
    pub(super) fn take(&mut self, told: Told, now: Instant) -> Option<Refused> {
        let Told { kind, news } = told;
        let is_listed = matches!(news, News::Listed(_));
        let index = self.indexes.get_mut(&kind)?;
        let share = |object| self.interner.share(object);
        let outcome = match news {
            News::ListBegins => {
                index.list_begins();
                return None;
            }
            News::ListEnds => {
                self.list_ended(kind, now);
                return None;
            }
            News::Listed(value) => index.listed(&value, share),
            News::Changed(value) => index.changed(&value, share),
            News::Deleted(value) => index.deleted_by(&value),
        };
        let (change, refused) = match outcome {
            Outcome::Nothing => (None, None),
            Outcome::Changed(change) => (Some(change), None),
            Outcome::Refused(refused, change) => (change, Some(refused)),
        };
        match change {
            Some(change) if is_listed => self.listed.entry(kind).or_default().push(change),
            Some(change) => self.change(change, now),
            None => {}
        }
        self.note_refusals(now);
        if matches!(kind, Kind::Namespace | Kind::NetworkPolicy) {
            self.release(now);
        }
        refused.inspect(log)
    }

    /// What is to be kept for a later run, as JSON, if it is something else than last time. Nothing before the first
    /// lists are complete: they may still be about to need it.
    pub(super) fn kept(&mut self) -> Option<&str> {
        let kept = as_json(self.index(Kind::NetworkPolicy));
        if !self.is_open || kept == self.kept {
            return None;
        }
        self.kept = kept;
        Some(&self.kept)
    }

    /// What to ask the API server about pods that are kept back: a namespace, and the question's number.
    pub(super) fn questions(&mut self, now: Instant) -> Vec<(Arc<str>, u64)> {
        self.held.ask(now)
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, to: (&str, u64), answer: Option<Answer>, now: Instant) {
        self.held.answered(to, answer, now);
        self.release(now);
    }

    /// How many pods are kept back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Since when something waits to be handed on.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.pending.since.filter(|_| self.is_open)
    }

    /// Everything that waits to be handed on.
    pub(super) fn batch(&mut self, now: Instant) -> Batch {
        let pending = std::mem::take(&mut self.pending);
        Batch {
            changes: pending.changes.into_values().collect(),
            since: pending.since.unwrap_or(now),
            refused: self.refused.clone(),
        }
    }

    fn index(&self, kind: Kind) -> &Index {
        &self.indexes[&kind] // one of each kind since `new`
    }

    /// A list takes effect as a whole. One object after another, the cluster would be in states in which it never was: a
    /// policy is changed to select a pod no more, and the one that selects it instead is still to come.
    fn list_ended(&mut self, kind: Kind, now: Instant) {
        // Before the list counts as complete: pods of the first one do not wait.
        let listed = self.listed.remove(&kind).unwrap_or_default();
        listed
            .into_iter()
            .for_each(|change| self.change(change, now));
        let gone = self.indexes.get_mut(&kind).map(Index::list_ends);
        let gone = gone.unwrap_or_default();
        gone.into_iter().for_each(|change| self.change(change, now));
        self.note_refusals(now);
        self.release(now);
        if !self.is_open && self.indexes.values().all(Index::is_complete) {
            self.is_open = true;
            // The first state is handed on even if there is nothing in the cluster.
            self.pending.since.get_or_insert(now);
            info!(
                objects = self.pending.changes.len(),
                "the first lists are complete"
            );
        } else if !self.is_open {
            info!(%kind, "listed");
        }
    }

    fn change(&mut self, change: ObjectChange, now: Instant) {
        let (kind, name) = change.subject();
        if kind == Kind::Pod {
            match &change {
                ObjectChange::Upsert(Object::Pod(pod)) if self.is_local(pod) => {
                    let pod = pod.clone();
                    return self.local_pod(name, &pod, now);
                }
                _ => {
                    self.held.forget(&name);
                    self.local.remove(&name);
                }
            }
        }
        self.hand_on(change, now);
    }

    fn is_local(&self, pod: &Pod) -> bool {
        pod.node == self.node && pod.is_networked()
    }

    /// A pod of this node. Policies and namespaces are listed only after the pods of the first list, so that those need
    /// not wait.
    fn local_pod(&mut self, name: Name, pod: &Arc<Pod>, now: Instant) {
        let object = Object::Pod(pod.clone());
        let known = self.local.get(&name);
        if known == Some(&pod.uid) || !self.index(Kind::Pod).is_complete() {
            self.local.insert(name, pod.uid.clone());
            return self.hand_on(ObjectChange::Upsert(object), now);
        }
        if known.is_some() {
            // Another pod of the same name: what was programmed for the old one is not for it.
            self.local.remove(&name);
            self.held.forget(&name);
            self.hand_on(ObjectChange::Remove(Kind::Pod, name.clone()), now);
        }
        self.held.put(name, object);
    }

    fn release(&mut self, now: Instant) {
        let is_listing = |kind| self.listed.contains_key(kind);
        // What an unfinished list has brought is known, and not handed on yet.
        if self.held.len() == 0
            || [Kind::Namespace, Kind::NetworkPolicy]
                .iter()
                .any(is_listing)
        {
            return;
        }
        let (namespaces, policies) = (
            &self.indexes[&Kind::Namespace],
            &self.indexes[&Kind::NetworkPolicy],
        );
        for object in self.held.release(namespaces, policies) {
            if let Object::Pod(pod) = &object {
                self.local.insert(pod.name.clone(), pod.uid.clone());
            }
            self.hand_on(ObjectChange::Upsert(object), now);
        }
    }

    fn hand_on(&mut self, change: ObjectChange, now: Instant) {
        self.pending.since.get_or_insert(now);
        self.pending.changes.insert(change.subject(), change);
    }

    /// Has what is refused handed on if it is something else than last time.
    fn note_refusals(&mut self, now: Instant) {
        let refused = self.refused_in_words();
        if refused != self.refused {
            self.refused = refused;
            self.pending.since.get_or_insert(now);
        }
    }

    fn refused_in_words(&self) -> Option<Arc<str>> {
        let mut all = self.indexes.iter().flat_map(|(kind, index)| {
            index
                .refused()
                .map(move |(name, why)| format!("{kind} {name}: {why}"))
        });
        let mut text = all.next()?;
        for (count, next) in all.enumerate() {
            if count + 1 == MAX_NAMED {
                text += "; and more";
                break;
            }
            text += "; ";
            text += &next;
        }
        Some(text.into())
    }
}

/// The last good versions of refused policies.
fn as_json(policies: &Index) -> String {
    let texts: Vec<&str> = policies.kept().collect();
    format!("[{}]", texts.join(",\n"))
}

fn log(refused: &Refused) {
    let Refused {
        kind, name, why, ..
    } = refused;
    match refused.remains {
        Remains::LastGood => {
            error!(%kind, %name, "refused, its last good version stays in force: {why}");
        }
        Remains::Nothing => error!(%kind, %name, "refused, it has no effect: {why}"),
    }
}

#[cfg(test)]
mod tests;
