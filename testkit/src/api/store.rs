//! The objects, and the changes that led to them, as etcd keeps them: one version counts through all resources.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Resource,
    object::{Key, Object, at_version, merge, text},
};

/// Changes that can be watched from the past. Older ones are compacted away.
const MAX_HISTORY: usize = 65_536;
/// How far the version jumps when a server loses its history.
const JUMP: u64 = 1_000_000;

/// The state of a cluster.
#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    /// A watch can begin at this version or later.
    compacted: u64,
    objects: BTreeMap<Resource, BTreeMap<Key, Arc<Value>>>,
    history: VecDeque<Arc<Change>>,
    /// For each resource the version of the last change that is not in the history any more.
    forgotten: BTreeMap<Resource, u64>,
}

/// The objects at some moment, to go back to.
#[derive(Clone, Debug)]
pub struct Backup {
    version: u64,
    objects: BTreeMap<Resource, BTreeMap<Key, Arc<Value>>>,
}

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: Resource,
    pub(super) key: Key,
    pub(super) kind: ChangeKind,
    /// The state before, if there was one.
    pub(super) before: Option<Arc<Value>>,
    /// The state after; of what was deleted the last state, with the deletion's version.
    pub(super) object: Arc<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// What a watch finds when it looks for the next change.
#[derive(Debug)]
pub(super) enum Next {
    Change(Arc<Change>),
    /// There is none; all were looked at up to this version.
    None(u64),
    /// There was one, and it is forgotten.
    Forgotten,
}

// === impl Store ===

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn get(&self, resource: Resource, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(&resource)?.get(key)
    }

    /// All of a resource, in the order of namespaces and names.
    pub(super) fn all(&self, resource: Resource) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.get(&resource).into_iter().flatten()
    }

    /// Creates or replaces an object. If nothing changes by it, there is no new version.
    pub(super) fn put(&mut self, object: Object) -> Arc<Value> {
        let Object {
            resource,
            key,
            mut value,
        } = object;
        let before = self.get(resource, &key).cloned();
        complete(&mut value, resource, before.as_deref());
        if let Some(before) = &before
            && value == **before
        {
            return before.clone();
        }
        let value = Arc::new(at_version(&value, self.version + 1));
        let all = self.objects.entry(resource).or_default();
        all.insert(key.clone(), value.clone());
        self.record(Change {
            version: self.version + 1,
            resource,
            key,
            kind: match before {
                Some(_) => ChangeKind::Modified,
                None => ChangeKind::Added,
            },
            before,
            object: value.clone(),
        });
        value
    }

    /// Deletes an object and returns its last state.
    pub(super) fn remove(&mut self, resource: Resource, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.get_mut(&resource)?.remove(key)?;
        let last = Arc::new(at_version(&before, self.version + 1));
        self.record(Change {
            version: self.version + 1,
            resource,
            key: key.clone(),
            kind: ChangeKind::Deleted,
            before: Some(before),
            object: last.clone(),
        });
        Some(last)
    }

    /// The next change of a resource after a version.
    pub(super) fn next(&self, resource: Resource, after: u64) -> Next {
        if self
            .forgotten
            .get(&resource)
            .is_some_and(|&lost| after < lost)
        {
            return Next::Forgotten;
        }
        let start = self
            .history
            .partition_point(|change| change.version <= after);
        let mut later = self.history.range(start..);
        match later.find(|change| change.resource == resource) {
            Some(change) => Next::Change(change.clone()),
            None => Next::None(self.version.max(after)),
        }
    }

    /// Forgets all changes: a watch from any version that was given out so far cannot begin.
    pub(super) fn compact(&mut self) {
        while let Some(change) = self.history.pop_front() {
            self.forgotten.insert(change.resource, change.version);
        }
        self.version += 1;
        self.compacted = self.version;
    }

    /// As [`Store::compact`], and the versions go on far ahead.
    pub(super) fn jump(&mut self) {
        self.compact();
        self.version += JUMP;
        self.compacted = self.version;
    }

    pub(super) fn backup(&self) -> Backup {
        Backup {
            version: self.version,
            objects: self.objects.clone(),
        }
    }

    /// Goes back: objects and versions. Versions that were given out since are given out again, for other changes.
    pub(super) fn restore(&mut self, backup: Backup) {
        *self = Self {
            version: backup.version,
            compacted: backup.version,
            objects: backup.objects,
            ..Self::default()
        };
    }

    fn record(&mut self, change: Change) {
        self.version = change.version;
        self.history.push_back(Arc::new(change));
        if self.history.len() > MAX_HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.compacted = oldest.version;
            self.forgotten.insert(oldest.resource, oldest.version);
        }
    }
}

/// Sets what the server sets, from the object that is replaced or anew.
fn complete(value: &mut Value, resource: Resource, before: Option<&Value>) {
    if resource == Resource::Namespaces {
        // https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
        let name = value["metadata"]["name"].clone();
        let label = json!({"kubernetes.io/metadata.name": name});
        merge(&mut value["metadata"], json!({"labels": label}));
    }
    if let Some(before) = before {
        // So that objects that differ in nothing else are equal.
        value["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    }
    let kept = |field: &str| before.map(|before| before["metadata"][field].clone());
    if text(value, "/metadata/uid").is_empty() {
        value["metadata"]["uid"] = kept("uid").unwrap_or_else(|| new_uid().into());
    }
    if text(value, "/metadata/creationTimestamp").is_empty() {
        let now = || json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        value["metadata"]["creationTimestamp"] = kept("creationTimestamp").unwrap_or_else(now);
    }
}

/// A random UUID (version 4, RFC 9562).
fn new_uid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}
