//! What is known of the nodes and namespaces: who is connected, who sent what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
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

/// The registry. Streams of many collectors write to it at a time.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: DashMap<String, Node>,
    namespaces: DashMap<String, Instant>,
}

impl Nodes {
    /// A registry that knows these nodes from earlier runs.
    pub fn new(known: &[String]) -> Self {
        let nodes = known.iter().map(|name| (name.clone(), Node::default()));
        Self {
            nodes: nodes.collect(),
            namespaces: DashMap::new(),
        }
    }

    /// A collector connected; it counts as connected until the guard is dropped.
    pub(crate) fn connect(self: &Arc<Self>, name: &str, version: &str) -> Connection {
        let mut node = self.nodes.entry(name.to_owned()).or_default();
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
        self.count(name, facts);
        let now = Instant::now();
        for namespace in &facts.namespaces {
            if let Some(mut seen) = self.namespaces.get_mut(namespace) {
                *seen = now;
                continue;
            }
            if self.namespaces.len() >= MAX_NAMESPACES {
                self.forget_namespaces();
            }
            if self.namespaces.len() < MAX_NAMESPACES {
                self.namespaces.insert(namespace.clone(), now);
            }
        }
    }

    fn count(&self, name: &str, facts: &Facts) {
        let mut node = self.nodes.entry(name.to_owned()).or_default();
        let time = jiff::Timestamp::now().as_nanosecond();
        node.last_batch = i64::try_from(time).ok().map(Timestamp);
        node.rows += facts.rows;
        node.lost_records += facts.lost_records;
        node.lost_packets += facts.lost_packets;
    }

    /// All nodes, by name.
    pub fn list(&self) -> Vec<(String, Node)> {
        let nodes = self.nodes.iter();
        let mut nodes: Vec<_> = nodes
            .map(|node| (node.key().clone(), node.value().clone()))
            .collect();
        nodes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        nodes
    }

    /// The namespaces of the last hour, sorted.
    pub fn namespaces(&self) -> Vec<String> {
        self.forget_namespaces();
        let namespaces = self.namespaces.iter();
        let mut names: Vec<_> = namespaces.map(|seen| seen.key().clone()).collect();
        names.sort_unstable();
        names
    }

    fn forget_namespaces(&self) {
        self.namespaces
            .retain(|_, seen| seen.elapsed() < NAMESPACE_TIME);
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
        if let Some(mut node) = self.nodes.nodes.get_mut(&self.name) {
            node.streams -= 1;
        }
    }
}
