//! Labels and names that many objects have are kept once, and no more room than they need.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use weir_policy::model::{Labels, NamedPort, Object, Pod};

/// Values in use at which unused ones are first looked for.
const FIRST_SWEEP: usize = 1024;

/// Values that are shared.
#[derive(Debug)]
pub(super) struct Interner {
    node: Arc<str>,
    nothing: Arc<str>,
    labels: Shared<Labels>,
    texts: Shared<Arc<str>>,
    ports: Shared<Arc<[NamedPort]>>,
}

impl Interner {
    /// One that knows nothing yet, for the collector of this node.
    pub(super) fn new(node: Arc<str>) -> Self {
        Self {
            node,
            nothing: "".into(),
            labels: Shared::default(),
            texts: Shared::default(),
            ports: Shared::default(),
        }
    }

    /// The same object, with shared parts where others have equal ones. Of a pod elsewhere the uid is dropped: only pods
    /// of this node must be told from their successors of the same name.
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
                    slice.endpoints.shrink_to_fit();
                    for endpoint in &mut slice.endpoints {
                        endpoint.addresses.shrink_to_fit();
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
        if pod.node != self.node {
            pod.uid = self.nothing.clone();
        }
        pod.labels = self.share_labels(&pod.labels);
        if let Some(owner) = &mut pod.owner {
            owner.kind = self.texts.share(&owner.kind);
            owner.name = self.texts.share(&owner.name);
        }
        pod.ips.shrink_to_fit();
        pod.ports = self.ports.share(&pod.ports);
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

impl<T: ?Sized + Eq + Hash> Countable for Arc<T> {
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
    use weir_policy::model::Kind;

    use super::*;

    fn pod(node: &str, labels: &[(&str, &str)]) -> Arc<Pod> {
        let labels: serde_json::Map<_, _> = (labels.iter())
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        let value = serde_json::json!({
            "metadata": {"name": "p", "namespace": "x", "uid": "1", "labels": labels},
            "spec": {"nodeName": node},
        });
        match weir_policy::manifest::from_json(Kind::Pod, &value) {
            Ok(Object::Pod(pod)) => pod,
            other => panic!("a pod: {other:?}"),
        }
    }

    fn share(interner: &mut Interner, pod: Arc<Pod>) -> Arc<Pod> {
        match interner.share(Object::Pod(pod)) {
            Object::Pod(pod) => pod,
            other => panic!("a pod: {other:?}"),
        }
    }

    #[test]
    fn a_pod_stays_what_it_is_and_its_uid_is_kept_on_this_node_only() {
        let mut interner = Interner::new("here".into());
        let labels = [("app", "web"), ("hash", "1")];
        let here = share(&mut interner, pod("here", &labels));
        assert_eq!(here, pod("here", &labels));
        let there = share(&mut interner, pod("there", &labels));
        assert_eq!((&*there.uid, &there.labels), ("", &here.labels));
    }

    #[test]
    fn label_sets_that_differ_share_what_they_have_in_common() {
        let mut interner = Interner::new("here".into());
        let [one, other] = ["1", "2"].map(|hash| {
            share(
                &mut interner,
                pod("here", &[("app", "web"), ("hash", hash)]),
            )
        });
        let keys = |pod: &Pod| {
            pod.labels
                .iter()
                .map(|(key, _)| key.clone())
                .collect::<Vec<_>>()
        };
        for (one, other) in keys(&one).iter().zip(&keys(&other)) {
            assert!(Arc::ptr_eq(one, other), "{one}");
        }
    }

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
