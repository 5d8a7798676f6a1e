//! What is known of the nodes and namespaces: who is connected, who sent what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_flow::Timestamp;
use weir_flow::columns::Facts;

/// How long a namespace is listed after its last flow, as in Hubble.
const NAMESPACE_TIME: Duration = Duration::from_secs(3600);
/// Namespaces listed at most.
const MAX_NAMESPACES: usize = 10_000;

/// One node, as the aggregator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its collector's version; empty if it has not connected in this run.
    pub version: String,
    /// Streams of its collector; more than one only while it reconnects.
    pub streams: usize,
    /// When its last batch came.
    pub last_batch: Option<Timestamp>,
    /// When it connected first in this run.
    pub connected_at: Option<Instant>,
    /// Rows in this run.
    pub rows: u64,
    /// Records its loss records count.
    pub lost_records: u64,
    /// Packets its loss records count.
    pub lost_packets: u64,
}

impl Node {
    /// Whether its collector is connected.
    pub fn is_connected(&self) -> bool {
        self.streams > 0
    }
}

/// The registry.
#[derive(Debug, Default)]
pub struct Nodes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: BTreeMap<String, Node>,
    namespaces: HashMap<String, Instant>,
}

impl Nodes {
    /// A registry that knows these nodes from earlier runs.
    pub fn new(known: &[String]) -> Self {
        let nodes = known.iter().map(|name| (name.clone(), Node::default()));
        Self {
            inner: Mutex::new(Inner {
                nodes: nodes.collect(),
                namespaces: HashMap::new(),
            }),
        }
    }

    /// A collector connected; it counts as connected until the guard is dropped.
    pub(crate) fn connect(self: &Arc<Self>, name: &str, version: &str) -> Connection {
        let mut inner = self.lock();
        let node = inner.nodes.entry(name.to_owned()).or_default();
        node.streams += 1;
        node.version = version.to_owned();
        node.connected_at.get_or_insert_with(Instant::now);
        Connection {
            nodes: self.clone(),
            name: name.to_owned(),
        }
    }

    /// A batch was stored.
    pub(crate) fn stored(&self, name: &str, facts: &Facts) {
        let now = Instant::now();
        let mut inner = self.lock();
        let node = inner.nodes.entry(name.to_owned()).or_default();
        let time = jiff::Timestamp::now().as_nanosecond();
        node.last_batch = i64::try_from(time).ok().map(Timestamp);
        node.rows += facts.rows;
        node.lost_records += facts.lost_records;
        node.lost_packets += facts.lost_packets;
        for namespace in &facts.namespaces {
            if let Some(seen) = inner.namespaces.get_mut(namespace) {
                *seen = now;
            } else if inner.namespaces.len() < MAX_NAMESPACES {
                inner.namespaces.insert(namespace.clone(), now);
            }
        }
        if inner.namespaces.len() == MAX_NAMESPACES {
            inner
                .namespaces
                .retain(|_, seen| seen.elapsed() < NAMESPACE_TIME);
        }
    }

    /// All nodes, by name.
    pub fn list(&self) -> Vec<(String, Node)> {
        let inner = self.lock();
        let nodes = inner.nodes.iter();
        nodes
            .map(|(name, node)| (name.clone(), node.clone()))
            .collect()
    }

    /// The namespaces of the last hour, sorted.
    pub fn namespaces(&self) -> Vec<String> {
        let mut inner = self.lock();
        inner
            .namespaces
            .retain(|_, seen| seen.elapsed() < NAMESPACE_TIME);
        let mut names: Vec<_> = inner.namespaces.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A collector's stream; dropping it says that it ended.
#[derive(Debug)]
pub(crate) struct Connection {
    nodes: Arc<Nodes>,
    name: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut inner = self.nodes.lock();
        if let Some(node) = inner.nodes.get_mut(&self.name) {
            node.streams -= 1;
        }
    }
}
