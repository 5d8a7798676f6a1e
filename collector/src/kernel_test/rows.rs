//! The rows of policy tests as packets for the real programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_datapath::abi;
use weir_policy::casefile::Check;
use weir_policy::model::{Cluster, Direction};
use weir_policy::tables::{Origin, ProtocolClass, Update};

use super::{KernelTestError, Mismatch, NodeScript, Probe, Remote, ScriptStep, Watch, run_scripts};
use crate::endpoints::LocalPod;

/// What every node is to go through. `R` names a row.
pub struct RowScripts<R> {
    nodes: BTreeMap<Arc<str>, Node<R>>,
}

struct Node<R> {
    steps: Vec<ScriptStep>,
    /// For each step, whose its packets are.
    owners: Vec<Vec<R>>,
}

impl<R> Default for RowScripts<R> {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
        }
    }
}

impl<R> Default for Node<R> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            owners: Vec::new(),
        }
    }
}

impl<R: Copy> RowScripts<R> {
    /// Adds a node's way to a state. `label` tells it from nodes of the same name in other clusters.
    pub fn step(&mut self, label: &Arc<str>, node: &str, cluster: &Cluster, update: Update) {
        let script = self.nodes.entry(label.clone()).or_default();
        script.steps.push(ScriptStep {
            pods: LocalPod::of_node(cluster, node),
            update,
            probes: Vec::new(),
        });
        script.owners.push(Vec::new());
    }

    /// Adds a packet to the state of the node that was added last.
    pub fn packet(&mut self, label: &Arc<str>, check: &Check, owner: R) {
        let node = self.nodes.get_mut(label);
        let Some(Node { steps, owners }) = node else {
            return; // a pod without a node has no tables; the model has passed it over, too
        };
        if let (Some(step), Some(owners), Some(probe)) =
            (steps.last_mut(), owners.last_mut(), probe(check))
        {
            step.probes.push(probe);
            owners.push(owner);
        }
    }

    /// Runs all packets, and those of updates after every single map write. Returns how many ran, and what differs.
    ///
    /// # Errors
    /// [`KernelTestError`]: packets cannot be run here.
    pub fn run(self) -> Result<(usize, Vec<(R, Mismatch)>), KernelTestError> {
        let mut owners = BTreeMap::new();
        let mut scripts = Vec::new();
        for (node, Node { steps, owners: own }) in self.nodes {
            owners.insert(node.clone(), own);
            scripts.push(NodeScript { node, steps });
        }
        let report = run_scripts(&scripts, Watch::EveryWrite)?;
        let owner = |mismatch: &Mismatch| owners[&mismatch.node][mismatch.step][mismatch.index];
        let mismatches = report.mismatches.into_iter();
        let mismatches = mismatches
            .map(|mismatch| (owner(&mismatch), mismatch))
            .collect();
        Ok((report.packets, mismatches))
    }
}

fn probe(check: &Check) -> Option<Probe> {
    let query = &check.query;
    let ProtocolClass::Named(protocol) = query.protocol else {
        return None;
    };
    Some(Probe {
        pod: check.pod.clone(),
        direction: match query.direction {
            Direction::Ingress => abi::Direction::Ingress,
            Direction::Egress => abi::Direction::Egress,
        },
        remote: query.remote,
        from: match query.origin {
            Origin::Local => Remote::OwnNode,
            Origin::Forwarded => Remote::Elsewhere,
            Origin::Hairpin => Remote::ItsOwnInterface,
            Origin::AddressOnly => return None, // a sidecar's view: no row is told from there
        },
        protocol,
        port: query.port,
    })
}
