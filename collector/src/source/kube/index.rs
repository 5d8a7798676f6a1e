//! What the API server has, as far as it was told: objects of one kind by name, with the version of each.
//!
//! A watch that was cut may tell things twice, and one that is not to be trusted may tell them in another order: an
//! event that is older than what is known of its object changes nothing. Versions are compared within a kind only, as
//! numbers, which Kubernetes allows (KEP-5504); between kinds they mean nothing. A list is the truth, whatever its
//! versions: after a restored backup they are smaller than before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use weir_policy::manifest;
use weir_policy::model::{Kind, Name, Object, ObjectChange};

use super::wire::text_at;

/// Deleted objects whose versions are remembered, in case older news of them comes late.
const MAX_DELETED: usize = 8192;

/// A resourceVersion; 0 if it is no number.
pub(super) type Version = u64;

/// A known object. `object` is the last version that was good.
#[derive(Debug)]
struct Known {
    version: Version,
    object: Option<Object>,
    /// The list in which it was seen last, or that was the last one when it was told.
    list: u32,
}

/// What a refused object's user should be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) uid: String,
    pub(super) version: Version,
    pub(super) why: Arc<str>,
    /// Whether an earlier version of it stays in force.
    pub(super) remains: Remains,
}

/// What is in force of a refused object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// The last good version.
    LastGood,
    /// Nothing: no version of it was good.
    Nothing,
}

/// A good version of a policy, to be read again after a restart.
#[derive(Debug)]
struct Good {
    uid: Box<str>,
    text: Box<str>,
}

impl Good {
    fn of(value: &Value) -> Self {
        Self {
            uid: uid(value).into(),
            text: value.to_string().into(),
        }
    }

    fn object(&self, kind: Kind) -> Option<Object> {
        let value = serde_json::from_str(&self.text).ok()?;
        manifest::from_json(kind, &value).ok()
    }
}

/// What came of a piece of news.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// Nothing that matters.
    Nothing,
    /// The object is another now, or gone.
    Changed(ObjectChange),
    /// It cannot be taken. What stays of it may have to be handed on: a version that an earlier run has kept, or that
    /// what stood under its name is gone.
    Refused(Refused, Option<ObjectChange>),
}

/// All objects of a kind.
#[derive(Debug)]
pub(super) struct Index {
    kind: Kind,
    known: HashMap<Name, Known, foldhash::fast::RandomState>,
    deleted: HashMap<Name, Version, foldhash::fast::RandomState>,
    /// What is refused, and why.
    refused: BTreeMap<Name, Arc<str>>,
    /// NetworkPolicies as they were when they were good last.
    good: HashMap<Name, Good, foldhash::fast::RandomState>,
    list: u32,
    is_complete: bool,
}

impl Index {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            known: HashMap::default(),
            deleted: HashMap::default(),
            refused: BTreeMap::new(),
            good: HashMap::default(),
            list: 0,
            is_complete: false,
        }
    }

    /// Whether a whole list has come.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The objects that are refused, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&Name, &Arc<str>)> {
        self.refused.iter()
    }

    /// Takes what an earlier run kept of refused policies.
    pub(super) fn restore(&mut self, kept: &[Value]) {
        for value in kept {
            self.good.insert(name(value), Good::of(value));
        }
    }

    /// Last good versions of policies that are refused now, as JSON, to be kept for a later run.
    pub(super) fn kept(&self) -> impl Iterator<Item = &str> {
        let refused = self.refused.keys();
        refused.filter_map(|name| Some(&*self.good.get(name)?.text))
    }

    /// The version of an object that was seen last.
    pub(super) fn version(&self, name: &Name) -> Option<Version> {
        self.known.get(name).map(|known| known.version)
    }

    /// The version at which an object was deleted, if that is remembered.
    pub(super) fn deleted(&self, name: &Name) -> Option<Version> {
        self.deleted.get(name).copied()
    }

    /// Names and versions of a namespace's objects.
    pub(super) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Name, Version)> {
        let all = self.known.iter();
        all.filter(move |(name, _)| &*name.namespace == namespace)
            .map(|(name, known)| (name, known.version))
    }

    /// A list begins.
    pub(super) fn list_begins(&mut self) {
        self.list = self.list.wrapping_add(1);
        self.deleted.clear();
    }

    /// A list is complete: what was not in it is gone.
    pub(super) fn list_ends(&mut self) -> Vec<ObjectChange> {
        self.is_complete = true;
        let (kind, list) = (self.kind, self.list);
        let gone = self.known.extract_if(|_, known| known.list != list);
        let refused = &mut self.refused;
        let removed = gone.filter_map(|(name, known)| {
            refused.remove(&name);
            known.object?;
            Some(ObjectChange::Remove(kind, name))
        });
        let removed = removed.collect();
        self.good.retain(|name, _| self.known.contains_key(name));
        removed
    }

    /// An object was added or modified, says a watch.
    pub(super) fn changed(
        &mut self,
        value: &Value,
        share: impl FnOnce(Object) -> Object,
    ) -> Outcome {
        let (name, version) = (name(value), version(value));
        let known = self.version(&name).or(self.deleted(&name));
        match known {
            Some(known) if version != 0 && version < known => Outcome::Nothing,
            _ => self.listed(value, share),
        }
    }

    /// An object was deleted, says a watch.
    pub(super) fn deleted_by(&mut self, value: &Value) -> Outcome {
        let (name, version) = (name(value), version(value));
        match self.version(&name) {
            Some(known) if version != 0 && version < known => return Outcome::Nothing,
            _ => {}
        }
        if self.deleted.len() >= MAX_DELETED {
            self.deleted.clear();
        }
        self.deleted.insert(name.clone(), version);
        let Some(known) = self.known.remove(&name) else {
            return Outcome::Nothing;
        };
        self.refused.remove(&name);
        self.good.remove(&name);
        match known.object {
            Some(_) => Outcome::Changed(ObjectChange::Remove(self.kind, name)),
            None => Outcome::Nothing,
        }
    }

    /// An object of a list: whatever is known of it.
    pub(super) fn listed(
        &mut self,
        value: &Value,
        share: impl FnOnce(Object) -> Object,
    ) -> Outcome {
        let object = match manifest::from_json(self.kind, value) {
            Ok(object) => share(object),
            Err(found) => {
                self.saw(name(value), version(value));
                return self.refuse(name(value), value, in_words(&found).into());
            }
        };
        // The object's own name: its text is kept once.
        let name = object.name();
        self.refused.remove(&name);
        let known = self.saw(name.clone(), version(value));
        if known.object.as_ref() == Some(&object) {
            return Outcome::Nothing;
        }
        known.object = Some(object.clone());
        if self.kind == Kind::NetworkPolicy {
            self.good.insert(name, Good::of(value));
        }
        Outcome::Changed(ObjectChange::Upsert(object))
    }

    /// An object of this name is there, at this version.
    fn saw(&mut self, name: Name, version: Version) -> &mut Known {
        self.deleted.remove(&name);
        let list = self.list;
        let known = self.known.entry(name).or_insert(Known {
            version,
            object: None,
            list,
        });
        (known.version, known.list) = (version, list);
        known
    }

    fn refuse(&mut self, name: Name, value: &Value, why: Arc<str>) -> Outcome {
        let change = match self.kind {
            Kind::NetworkPolicy => self.keep_good(&name, uid(value)),
            _ => None,
        };
        let before = self.refused.insert(name.clone(), why.clone());
        if before.as_ref() == Some(&why) && change.is_none() {
            return Outcome::Nothing;
        }
        let has_good = self
            .known
            .get(&name)
            .is_some_and(|known| known.object.is_some());
        let refused = Refused {
            kind: self.kind,
            uid: uid(value).to_owned(),
            version: version(value),
            why,
            remains: if has_good {
                Remains::LastGood
            } else {
                Remains::Nothing
            },
            name,
        };
        Outcome::Refused(refused, change)
    }

    /// Has the last good version of a policy in force: the one an earlier run kept if this one saw none; none if another
    /// policy stood under its name.
    fn keep_good(&mut self, name: &Name, uid: &str) -> Option<ObjectChange> {
        let known = self.known.get_mut(name)?;
        match self.good.get(name) {
            Some(good) if &*good.uid == uid => {
                if known.object.is_some() {
                    return None;
                }
                known.object = good.object(self.kind);
                known.object.clone().map(ObjectChange::Upsert)
            }
            _ => {
                self.good.remove(name);
                known.object.take()?;
                Some(ObjectChange::Remove(self.kind, name.clone()))
            }
        }
    }
}

fn in_words(found: &[manifest::Diagnostic]) -> String {
    let mut text = String::new();
    for (index, finding) in found.iter().take(MAX_FINDINGS).enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        let colon = if finding.path.is_empty() { "" } else { ": " };
        text += &format!("{separator}{}{colon}{}", finding.path, finding.message);
    }
    match found.len().saturating_sub(MAX_FINDINGS) {
        0 => text,
        more => format!("{text}; and {more} more errors"),
    }
}

/// The most findings that are spelt out.
const MAX_FINDINGS: usize = 5;

fn uid(value: &Value) -> &str {
    text_at(&value["metadata"], "uid")
}

/// Namespace and name; cluster-scoped objects have an empty namespace.
pub(super) fn name(value: &Value) -> Name {
    let metadata = &value["metadata"];
    Name::new(text_at(metadata, "namespace"), text_at(metadata, "name"))
}

/// The resourceVersion as a number.
pub(super) fn version(value: &Value) -> Version {
    number(text_at(&value["metadata"], "resourceVersion"))
}

/// A resourceVersion as a number.
pub(super) fn number(text: &str) -> Version {
    text.parse().unwrap_or_default()
}
