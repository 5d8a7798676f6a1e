//! Rows of a policy test, run through the kernel and compared with what the same tables say in user space.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use weir_datapath::abi;
use weir_policy::model::Direction;
use weir_policy::tables::{Judgement, Origin, ProtocolClass, Query, Tables, Update};

use super::{KernelTest, KernelTestError, Observed, Probe, Remote};
use crate::endpoints::LocalPod;
use crate::kernel::{MapWrite, Passed};

/// One node's part of a policy test.
#[derive(Clone, Debug)]
pub struct NodeScript {
    /// Its name.
    pub node: Arc<str>,
    /// States, in order, applied to one running kernel.
    pub steps: Vec<ScriptStep>,
}

/// One state.
#[derive(Clone, Debug)]
pub struct ScriptStep {
    /// The node's pods in it.
    pub pods: Vec<LocalPod>,
    /// The way to it from the state before; the first is from nothing.
    pub update: Update,
    /// Packets to run in it.
    pub probes: Vec<Probe>,
}

/// Whether packets are also run while an update is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Only in the states themselves.
    States,
    /// After every single map write too, from the second step on: each verdict must be the old or the new one.
    EveryWrite,
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct ScriptReport {
    /// How many packets ran.
    pub packets: usize,
    /// Where kernel and tables differ.
    pub mismatches: Vec<Mismatch>,
}

/// A packet that the kernel judged otherwise than the tables.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The node.
    pub node: Arc<str>,
    /// Index of the step.
    pub step: usize,
    /// Index of the probe in its step.
    pub index: usize,
    /// The packet.
    pub probe: Probe,
    /// What the tables say after the step.
    pub expected: Option<Judgement>,
    /// What the kernel did.
    pub observed: Observed,
    /// The map write after which it was seen, if an update was under way.
    pub after: Option<MapWrite>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probe {
            pod,
            direction,
            remote,
            protocol,
            port,
            ..
        } = &self.probe;
        let verdict = if self.observed.passed == Passed::Yes {
            "allow"
        } else {
            "deny"
        };
        write!(
            f,
            "{pod} {direction:?} {remote} {protocol:?} {port}: the kernel says {verdict} "
        )?;
        write!(
            f,
            "({}, rule {}), ",
            self.observed.reason.as_str(),
            self.observed.rule
        )?;
        match &self.expected {
            Some(expected) => write!(f, "the tables {expected:?}")?,
            None => f.write_str("the tables do not know the pod")?,
        }
        match &self.after {
            Some(write) => write!(f, ", after the write {write:?}"),
            None => Ok(()),
        }
    }
}

/// Runs scripts, one node after the other in the same maps.
///
/// # Errors
///
/// [`KernelTestError`]: mismatches are no error but in the report.
pub fn run_scripts(scripts: &[NodeScript], watch: Watch) -> Result<ScriptReport, KernelTestError> {
    let mut kernel = KernelTest::new()?;
    let mut report = ScriptReport::default();
    for script in scripts {
        kernel = kernel.reset()?;
        let mut tables = Tables::default();
        for (step, state) in script.steps.iter().enumerate() {
            let at = At {
                node: &script.node,
                step,
            };
            let before = tables.clone();
            state.update.writes().for_each(|write| tables.apply(write));
            kernel.set_pods(&state.pods)?;
            if watch == Watch::EveryWrite && step > 0 {
                watched(
                    &mut kernel,
                    state,
                    (before, tables.clone()),
                    &at,
                    &mut report,
                )?;
            } else {
                kernel.apply(&state.update)?;
            }
            for (index, probe) in state.probes.iter().enumerate() {
                let observed = kernel.probe(probe)?;
                let expected = judge(&tables, &kernel, probe)?;
                report.packets += 1;
                if !expected.is_some_and(|expected| agree(&expected, &observed)) {
                    report
                        .mismatches
                        .push(at.mismatch(index, probe, expected, observed, None));
                }
            }
        }
    }
    Ok(report)
}

struct At<'a> {
    node: &'a Arc<str>,
    step: usize,
}

impl At<'_> {
    fn mismatch(
        &self,
        index: usize,
        probe: &Probe,
        expected: Option<Judgement>,
        observed: Observed,
        after: Option<MapWrite>,
    ) -> Mismatch {
        let (node, step) = (Arc::clone(self.node), self.step);
        Mismatch {
            node,
            step,
            index,
            probe: probe.clone(),
            expected,
            observed,
            after,
        }
    }
}

/// Applies a step's update with all its packets run after every write.
fn watched(
    kernel: &mut KernelTest,
    state: &ScriptStep,
    (before, after): (Tables, Tables),
    at: &At<'_>,
    report: &mut ScriptReport,
) -> Result<(), KernelTestError> {
    let mut rows = Vec::new();
    for (index, probe) in state.probes.iter().enumerate() {
        // A pod that is new in this step has no old verdict to keep.
        if let (Some(old), Some(new)) = (
            judge(&before, kernel, probe)?,
            judge(&after, kernel, probe)?,
        ) {
            rows.push((index, probe.clone(), old, new));
        }
    }
    let seen = Rc::new(RefCell::new((0_usize, Vec::new(), None)));
    let log = Rc::clone(&seen);
    let looked_at = rows.clone();
    kernel.apply_watched(&state.update, move |write, probe| {
        let (packets, found, failed) = &mut *log.borrow_mut();
        for (row, (_, packet, old, new)) in looked_at.iter().enumerate() {
            match probe(packet) {
                Ok(observed) if agree(old, &observed) || agree(new, &observed) => *packets += 1,
                Ok(observed) => found.push((row, observed, *write)),
                Err(error) => *failed = Some(error),
            }
        }
    })?;
    let (packets, found, failed) = seen.take();
    if let Some(error) = failed {
        return Err(error);
    }
    report.packets += packets + found.len();
    report
        .mismatches
        .extend(found.into_iter().map(|(row, observed, write)| {
            let (index, probe, _, new) = &rows[row];
            at.mismatch(*index, probe, Some(*new), observed, Some(write))
        }));
    Ok(())
}

/// What the tables say about a packet.
fn judge(
    tables: &Tables,
    kernel: &KernelTest,
    probe: &Probe,
) -> Result<Option<Judgement>, KernelTestError> {
    let query = Query {
        direction: match probe.direction {
            abi::Direction::Ingress => Direction::Ingress,
            abi::Direction::Egress => Direction::Egress,
        },
        local: kernel.local_address(probe)?,
        remote: probe.remote,
        protocol: ProtocolClass::Named(probe.protocol),
        port: probe.port,
        origin: match (probe.direction, probe.from) {
            (abi::Direction::Egress, _) | (_, Remote::Elsewhere) => Origin::Forwarded,
            (_, Remote::OwnNode) => Origin::Local,
            (_, Remote::ItsOwnInterface) => Origin::Hairpin,
        },
    };
    Ok(tables.verdict(&probe.pod, &query))
}

/// Verdict and named rule.
fn agree(expected: &Judgement, observed: &Observed) -> bool {
    expected.allowed == (observed.passed == Passed::Yes) && expected.rule.0 == observed.rule
}
