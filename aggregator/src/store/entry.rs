//! What the log's frames hold.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

/// The begin of every log.
pub(super) const MAGIC: [u8; 8] = *b"WEIRWAL1";

/// Epochs remembered per node: a collector begins one per start, and resends none that is older than its spool.
const EPOCHS_PER_NODE: usize = 1024;

/// The payload of one frame.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(oneof = "Kind", tags = "1, 2")]
    pub(super) kind: Option<Kind>,
}

/// What an entry says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    /// What was acknowledged before this log began.
    #[prost(message, tag = "1")]
    Checkpoint(Checkpoint),
    /// A batch.
    #[prost(message, tag = "2")]
    Batch(BatchEntry),
}

/// The watermarks: with them, an older log can be removed once it is sealed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Checkpoint {
    #[prost(message, repeated, tag = "1")]
    pub(super) marks: Vec<Mark>,
    /// Version of the columns in this log.
    #[prost(uint32, tag = "2")]
    pub(super) schema_version: u32,
}

/// Everything of a node's epoch up to `seq` is stored.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Mark {
    #[prost(string, tag = "1")]
    pub(super) node: String,
    #[prost(fixed64, tag = "2")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(super) seq: u64,
}

/// A batch as it came, packed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BatchEntry {
    #[prost(message, optional, tag = "1")]
    pub(super) mark: Option<Mark>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) packed: Bytes,
}

/// The highest stored number of each node's epochs.
#[derive(Clone, Debug, Default)]
pub(super) struct Watermarks {
    nodes: HashMap<String, Vec<(u64, u64)>>,
}

impl Watermarks {
    pub(super) fn of(marks: &[Mark]) -> Self {
        let mut watermarks = Self::default();
        for mark in marks {
            watermarks.advance(&mark.node, mark.epoch, mark.seq);
        }
        watermarks
    }

    /// The highest stored number; 0 if there is none.
    pub(super) fn get(&self, node: &str, epoch: u64) -> u64 {
        let epochs = self.nodes.get(node);
        let found = epochs.and_then(|epochs| epochs.iter().find(|(known, _)| *known == epoch));
        found.map_or(0, |(_, seq)| *seq)
    }

    /// Whether a batch is stored already.
    pub(super) fn covers(&self, node: &str, epoch: u64, seq: u64) -> bool {
        seq <= self.get(node, epoch)
    }

    pub(super) fn advance(&mut self, node: &str, epoch: u64, seq: u64) {
        let epochs = self.nodes.entry(node.to_owned()).or_default();
        match epochs.iter_mut().find(|(known, _)| *known == epoch) {
            Some((_, high)) => *high = seq.max(*high),
            None => {
                if epochs.len() == EPOCHS_PER_NODE {
                    epochs.remove(0);
                }
                epochs.push((epoch, seq));
            }
        }
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (node, epochs) in &self.nodes {
            marks.extend(epochs.iter().map(|(epoch, seq)| Mark {
                node: node.clone(),
                epoch: *epoch,
                seq: *seq,
            }));
        }
        marks
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }
}
