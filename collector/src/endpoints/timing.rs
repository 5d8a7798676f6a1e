//! How long endpoints take: from an interface to its programs, from a pod's address to its policies.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use weir_policy::model::Name;

use super::mapping::LocalPod;
use crate::telemetry::OwnMetrics;

/// The clocks of endpoints that are on their way.
pub(super) struct Timing {
    own: OwnMetrics,
    /// When what is being worked on can first have been heard of; none while what is found was there before.
    heard: Option<Instant>,
    /// Since when pods without policies in force have an address.
    addressed: HashMap<Name, Instant>,
}

impl Timing {
    pub(super) fn new(own: OwnMetrics) -> Self {
        Self {
            own,
            heard: None,
            addressed: HashMap::new(),
        }
    }

    /// Sets when the news that come next can first have been heard of.
    pub(super) fn hear(&mut self, at: Option<Instant>) {
        self.heard = at;
    }

    /// An interface got the programs.
    pub(super) fn attached(&self) {
        if let Some(heard) = self.heard {
            let seconds = heard.elapsed().as_secs_f64();
            self.own.attach_seconds.observe(seconds);
        }
    }

    /// The pods are these now, as was said at `since`; `programmed` have their policies. What the first list has, was
    /// there before.
    pub(super) fn pods(
        &mut self,
        before: Option<&[LocalPod]>,
        pods: &[LocalPod],
        since: Instant,
        programmed: &HashSet<Name>,
    ) {
        let listed: HashSet<&Name> = pods.iter().map(|pod| &pod.name).collect();
        self.addressed.retain(|name, _| listed.contains(name));
        let Some(before) = before else {
            return;
        };
        let had: HashSet<&Name> = with_address(before).collect();
        for name in with_address(pods) {
            if !had.contains(name) && !programmed.contains(name) {
                self.addressed.entry(name.clone()).or_insert(since);
            }
        }
    }

    /// A pod's policies came into force.
    pub(super) fn programmed(&mut self, pod: &Name) {
        if let Some(since) = self.addressed.remove(pod) {
            let seconds = since.elapsed().as_secs_f64();
            self.own.program_seconds.observe(seconds);
        }
    }
}

fn with_address(pods: &[LocalPod]) -> impl Iterator<Item = &Name> {
    let addressed = pods.iter().filter(|pod| !pod.addresses.is_empty());
    addressed.map(|pod| &pod.name)
}
