//! `node_name` and `uuid`.

use weir_proto::flow::FlowFilter;

use super::glob::Glob;
use super::{Test, any};
use crate::hubble::{CLUSTER, uuid};

pub(super) fn build(filter: &FlowFilter, tests: &mut Vec<Test>) {
    let patterns = filter.node_name.iter().map(|text| Pattern::parse(text));
    any(tests, patterns.collect(), |pattern: &Pattern, record| {
        pattern.matches(&record.node)
    });
    any(tests, filter.uuid.clone(), |wanted, record| {
        uuid(record) == *wanted
    });
}

/// `[cluster/]node`; nothing behind the slash means all nodes of the cluster.
#[derive(Clone, Debug)]
struct Pattern {
    cluster: Option<Glob>,
    node: Option<Glob>,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let (cluster, node) = match text.split_once('/') {
            Some((cluster, node)) => (cluster, node),
            None => ("", text),
        };
        let glob = |text: &str| (!text.is_empty()).then(|| Glob::new(text));
        Self {
            cluster: glob(cluster),
            node: glob(node),
        }
    }

    fn matches(&self, node: &str) -> bool {
        let cluster = self.cluster.as_ref();
        let wanted = self.node.as_ref();
        cluster.is_none_or(|glob| glob.matches(CLUSTER))
            && wanted.is_none_or(|glob| glob.matches(node))
    }
}
