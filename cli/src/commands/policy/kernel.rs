//! The rows of a policy test as packets for the real programs.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_collector::endpoints::LocalPod;
use weir_collector::kernel_test::{
    KernelTestError, Mismatch, NodeScript, Probe, Remote, ScriptStep, Watch, run_scripts,
};
use weir_datapath::abi;
use weir_policy::casefile::Check;
use weir_policy::model::{Cluster, Direction};
use weir_policy::tables::{Origin, ProtocolClass, Update};

/// Which row of which step a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId {
    pub(super) step: usize,
    pub(super) row: usize,
}

/// What every node is to go through.
#[derive(Default)]
pub(super) struct Scripts {
    nodes: BTreeMap<Arc<str>, Node>,
}

#[derive(Default)]
struct Node {
    steps: Vec<ScriptStep>,
    /// For each step, whose its packets are.
    owners: Vec<Vec<RowId>>,
}

impl Scripts {
    /// Adds a node's way to a state.
    pub(super) fn step(&mut self, node: &Arc<str>, cluster: &Cluster, update: Update) {
        let script = self.nodes.entry(node.clone()).or_default();
        script.steps.push(ScriptStep {
            pods: LocalPod::of_node(cluster, node),
            update,
            probes: Vec::new(),
        });
        script.owners.push(Vec::new());
    }

    /// Adds a packet to the state that was added last.
    pub(super) fn packet(&mut self, check: &Check, owner: RowId) {
        let node = self.nodes.get_mut(&check.node);
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
    pub(super) fn run(self) -> Result<(usize, Vec<(RowId, Mismatch)>), KernelTestError> {
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
