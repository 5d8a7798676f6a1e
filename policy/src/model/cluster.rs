//! All objects of a cluster that Weir reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{EndpointSlice, Name, Namespace, NetworkPolicy, Node, Pod, Service};

/// A cluster. Objects are shared: a clone costs the maps only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// By name.
    pub namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    /// By name.
    pub nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// By namespace and name.
    pub pods: BTreeMap<Name, Arc<Pod>>,
    /// By namespace and name.
    pub services: BTreeMap<Name, Arc<Service>>,
    /// By namespace and name.
    pub endpoint_slices: BTreeMap<Name, Arc<EndpointSlice>>,
    /// By namespace and name: the order in which rules are named.
    pub policies: BTreeMap<Name, Arc<NetworkPolicy>>,
}

/// One object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A node.
    Node(Arc<Node>),
    /// A pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A NetworkPolicy.
    NetworkPolicy(Arc<NetworkPolicy>),
}

/// The kinds of [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Namespace.
    Namespace,
    /// Node.
    Node,
    /// Pod.
    Pod,
    /// Service.
    Service,
    /// EndpointSlice.
    EndpointSlice,
    /// NetworkPolicy.
    NetworkPolicy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
        }
    }

    /// Its name; cluster-scoped objects have an empty namespace.
    pub fn name(&self) -> Name {
        match self {
            Self::Namespace(object) => Name::new("", object.name.clone()),
            Self::Node(object) => Name::new("", object.name.clone()),
            Self::Pod(object) => object.name.clone(),
            Self::Service(object) => object.name.clone(),
            Self::EndpointSlice(object) => object.name.clone(),
            Self::NetworkPolicy(object) => object.name.clone(),
        }
    }
}

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectChange {
    /// It was added or replaced.
    Upsert(Object),
    /// It was removed.
    Remove(Kind, Name),
}

impl ObjectChange {
    /// What changed.
    pub fn subject(&self) -> (Kind, Name) {
        match self {
            Self::Upsert(object) => (object.kind(), object.name()),
            Self::Remove(kind, name) => (*kind, name.clone()),
        }
    }

    /// As what it goes on; nothing if it is gone.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Self::Upsert(object) => Some(object),
            Self::Remove(..) => None,
        }
    }
}

impl Cluster {
    /// Brings one change about.
    pub fn apply(&mut self, change: ObjectChange) {
        match change {
            ObjectChange::Upsert(object) => self.upsert(object),
            ObjectChange::Remove(kind, name) => self.remove(kind, &name),
        }
    }

    /// The changes that make `next` of it.
    pub fn changes_to(&self, next: &Self) -> Vec<ObjectChange> {
        let gone = self
            .objects()
            .map(|object| (object.kind(), object.name()))
            .filter(|(kind, name)| next.get(*kind, name).is_none())
            .map(|(kind, name)| ObjectChange::Remove(kind, name));
        let new = next
            .objects()
            .filter(|object| self.get(object.kind(), &object.name()).as_ref() != Some(object))
            .map(ObjectChange::Upsert);
        gone.chain(new).collect()
    }

    /// Adds or replaces an object.
    pub fn upsert(&mut self, object: Object) {
        match object {
            Object::Namespace(object) => drop(self.namespaces.insert(object.name.clone(), object)),
            Object::Node(object) => drop(self.nodes.insert(object.name.clone(), object)),
            Object::Pod(object) => drop(self.pods.insert(object.name.clone(), object)),
            Object::Service(object) => drop(self.services.insert(object.name.clone(), object)),
            Object::EndpointSlice(object) => {
                drop(self.endpoint_slices.insert(object.name.clone(), object))
            }
            Object::NetworkPolicy(object) => {
                drop(self.policies.insert(object.name.clone(), object))
            }
        }
    }

    /// The object of this kind and name.
    pub fn get(&self, kind: Kind, name: &Name) -> Option<Object> {
        match kind {
            Kind::Namespace => self
                .namespaces
                .get(&name.name)
                .cloned()
                .map(Object::Namespace),
            Kind::Node => self.nodes.get(&name.name).cloned().map(Object::Node),
            Kind::Pod => self.pods.get(name).cloned().map(Object::Pod),
            Kind::Service => self.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => self
                .endpoint_slices
                .get(name)
                .cloned()
                .map(Object::EndpointSlice),
            Kind::NetworkPolicy => self.policies.get(name).cloned().map(Object::NetworkPolicy),
        }
    }

    /// All objects, namespaces first and policies last.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        (self.namespaces.values().cloned().map(Object::Namespace))
            .chain(self.nodes.values().cloned().map(Object::Node))
            .chain(self.pods.values().cloned().map(Object::Pod))
            .chain(self.services.values().cloned().map(Object::Service))
            .chain(
                self.endpoint_slices
                    .values()
                    .cloned()
                    .map(Object::EndpointSlice),
            )
            .chain(self.policies.values().cloned().map(Object::NetworkPolicy))
    }

    /// Removes an object if it is there.
    pub fn remove(&mut self, kind: Kind, name: &Name) {
        match kind {
            Kind::Namespace => drop(self.namespaces.remove(&name.name)),
            Kind::Node => drop(self.nodes.remove(&name.name)),
            Kind::Pod => drop(self.pods.remove(name)),
            Kind::Service => drop(self.services.remove(name)),
            Kind::EndpointSlice => drop(self.endpoint_slices.remove(name)),
            Kind::NetworkPolicy => drop(self.policies.remove(name)),
        }
    }
}

impl FromIterator<Object> for Cluster {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut cluster = Self::default();
        objects
            .into_iter()
            .for_each(|object| cluster.upsert(object));
        cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn namespace(name: &str, labels: &[(&str, &str)]) -> Object {
        let labels = Labels::from_iter(labels.iter().copied());
        Object::Namespace(Arc::new(Namespace::new(name, &labels)))
    }

    #[test]
    fn the_changes_between_two_clusters_are_those_of_objects_that_differ() {
        let before = Cluster::from_iter([
            namespace("a", &[]),
            namespace("b", &[]),
            namespace("c", &[]),
        ]);
        let changed = namespace("b", &[("team", "x")]);
        let after = Cluster::from_iter([namespace("a", &[]), changed.clone()]);
        let changes = before.changes_to(&after);
        let expected = [
            ObjectChange::Remove(Kind::Namespace, Name::new("", "c")),
            ObjectChange::Upsert(changed),
        ];
        assert_eq!(changes, expected);
        let mut cluster = before;
        changes.into_iter().for_each(|change| cluster.apply(change));
        assert_eq!(cluster, after);
    }
}
