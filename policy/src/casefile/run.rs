//! Rows against the compiled tables. One compiler a node, kept from step to step, as in running collectors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Check, Expect, ResolveError, Row, checks};
use crate::compile::{Catalogue, Change, Compiler};
use crate::explain::NamedRule;
use crate::model::{Cluster, Direction};
use crate::tables::{Judgement, Update};

/// All nodes of a cluster, compiled.
#[derive(Default)]
pub struct ModelRun {
    compilers: BTreeMap<Arc<str>, Compiler>,
    cluster: Cluster,
}

/// What became of a row.
#[derive(Clone, Debug)]
pub struct RowOutcome {
    /// The row.
    pub row: Row,
    /// What was looked up, and what came.
    pub sides: Vec<SideOutcome>,
    /// What the destination's policies say.
    pub ingress: Expect,
    /// What the source's policies say.
    pub egress: Expect,
}

/// One check of a row.
#[derive(Clone, Debug)]
pub struct SideOutcome {
    /// What was looked up.
    pub check: Check,
    /// What the tables say.
    pub judgement: Judgement,
    /// The rule that decided, if it is one of a policy.
    pub rule: Option<NamedRule>,
}

impl RowOutcome {
    /// Whether all is as expected.
    pub fn passed(&self) -> bool {
        self.ingress == self.row.ingress && self.egress == self.row.egress
    }
}

impl ModelRun {
    /// Goes on to this state of the cluster. Returns each node's way there, the nodes in the order of their names.
    pub fn step(&mut self, cluster: Cluster) -> Vec<(Arc<str>, Update)> {
        let mut nodes: BTreeSet<Arc<str>> =
            cluster.pods.values().map(|pod| pod.node.clone()).collect();
        nodes.extend(cluster.nodes.keys().cloned());
        nodes.extend(self.compilers.keys().cloned());
        self.cluster = cluster;
        let mut updates = Vec::new();
        for node in nodes {
            let compiler = self
                .compilers
                .entry(node.clone())
                .or_insert_with(|| Compiler::new(node.clone(), Catalogue::default()));
            updates.push((
                node,
                compiler.apply(vec![Change::Replace(self.cluster.clone())]),
            ));
        }
        updates
    }

    /// The cluster of the last step.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A node's compiler.
    pub fn compiler(&self, node: &str) -> Option<&Compiler> {
        self.compilers.get(node)
    }

    /// Judges a row.
    ///
    /// # Errors
    /// [`ResolveError`]: the row names what is not there.
    pub fn judge(&self, row: &Row) -> Result<RowOutcome, ResolveError> {
        let mut sides = Vec::new();
        for check in checks(&self.cluster, row)? {
            sides.extend(self.side(check));
        }
        let says = |direction| {
            Expect::of(
                sides
                    .iter()
                    .filter(|side: &&SideOutcome| side.check.query.direction == direction)
                    .all(|side| side.judgement.allowed),
            )
        };
        let (ingress, egress) = (says(Direction::Ingress), says(Direction::Egress));
        Ok(RowOutcome {
            row: row.clone(),
            sides,
            ingress,
            egress,
        })
    }

    fn side(&self, check: Check) -> Option<SideOutcome> {
        let compiler = self.compilers.get(&check.node)?;
        let judgement = compiler.tables().verdict(&check.pod, &check.query)?;
        let rule = compiler
            .catalogue()
            .rule(judgement.rule)
            .map(|entry| NamedRule {
                policy: entry.policy.clone(),
                index: entry.index,
            });
        Some(SideOutcome {
            check,
            judgement,
            rule,
        })
    }
}
