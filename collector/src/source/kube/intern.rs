//! Labels and names that many objects have are kept once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use weir_policy::model::{Labels, Object, Pod};

/// Values in use at which unused ones are first looked for.
const FIRST_SWEEP: usize = 1024;

/// Values that are shared.
#[derive(Debug, Default)]
pub(super) struct Interner {
    labels: Shared<Labels>,
    texts: Shared<Arc<str>>,
}

impl Interner {
    /// The same object, with shared parts where others have equal ones.
    pub(super) fn share(&mut self, object: Object) -> Object {
        match object {
            Object::Pod(mut pod) => {
                if let Some(pod) = Arc::get_mut(&mut pod) {
                    self.share_pod(pod);
                }
                Object::Pod(pod)
            }
            Object::EndpointSlice(mut slice) => {
                if let Some(slice) = Arc::get_mut(&mut slice) {
                    slice.name.namespace = self.texts.share(&slice.name.namespace);
                    for endpoint in &mut slice.endpoints {
                        endpoint.node = endpoint.node.as_ref().map(|node| self.texts.share(node));
                    }
                }
                Object::EndpointSlice(slice)
            }
            other => other,
        }
    }

    /// Keys and values too: many label sets differ in one of them.
    fn share_labels(&mut self, labels: &Labels) -> Labels {
        if let Some(known) = self.labels.values.get(labels) {
            return known.clone();
        }
        let texts = &mut self.texts;
        let pairs = labels.iter();
        let shared = pairs.map(|(key, value)| (texts.share(key), texts.share(value)));
        self.labels.share(&shared.collect())
    }

    fn share_pod(&mut self, pod: &mut Pod) {
        pod.name.namespace = self.texts.share(&pod.name.namespace);
        pod.node = self.texts.share(&pod.node);
        pod.labels = self.share_labels(&pod.labels);
        if let Some(owner) = &mut pod.owner {
            owner.kind = self.texts.share(&owner.kind);
            owner.name = self.texts.share(&owner.name);
        }
        pod.ips.shrink_to_fit();
        for port in &mut pod.ports {
            port.name = self.texts.share(&port.name);
        }
        pod.ports.shrink_to_fit();
    }
}

/// A value of which it can be told whether somebody else has it too.
trait Countable: Clone + Eq + Hash {
    fn is_sole(&self) -> bool;
}

impl Countable for Labels {
    fn is_sole(&self) -> bool {
        Labels::is_sole(self)
    }
}

impl Countable for Arc<str> {
    fn is_sole(&self) -> bool {
        Arc::strong_count(self) == 1
    }
}

#[derive(Debug)]
struct Shared<T> {
    values: HashSet<T, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            values: HashSet::default(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

impl<T: Countable> Shared<T> {
    fn share(&mut self, value: &T) -> T {
        if let Some(known) = self.values.get(value) {
            return known.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| !value.is_sole());
            self.sweep_at = (self.values.len() * 2).max(FIRST_SWEEP);
        }
        self.values.insert(value.clone());
        value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut shared = Shared::<Arc<str>>::default();
        let first = shared.share(&"a".into());
        assert!(Arc::ptr_eq(&first, &shared.share(&"a".into())));
        for index in 0..10 * FIRST_SWEEP {
            shared.share(&index.to_string().into());
        }
        assert!(shared.values.len() <= FIRST_SWEEP);
        assert!(Arc::ptr_eq(&first, &shared.share(&"a".into())), "in use");
    }
}
