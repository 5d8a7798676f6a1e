//! The nearest miss of a denial, within bounds: computing it takes time that the pipeline must not spend without limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use weir_flow::Direction;
use weir_policy::explain;
use weir_policy::model::{self, Protocol};
use weir_policy::tables::ProtocolClass;

use super::view::PolicyReader;
use crate::assemble::NearestMiss;
use crate::endpoints::EndpointView;

/// Answers that are remembered.
const CACHE: usize = 4096;
/// Answers computed in a second.
const BUDGET: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question {
    endpoint: u32,
    direction: Direction,
    remote: IpAddr,
    protocol: u8,
    port: u16,
}

/// Answers from the policies in force.
pub struct Misses {
    policies: PolicyReader,
    endpoints: EndpointView,
    revision: u64,
    cache: HashMap<Question, Option<Arc<str>>, foldhash::fast::RandomState>,
    budget: u32,
    since: Instant,
}

impl Misses {
    /// Reads the policies through `policies`.
    pub fn new(policies: PolicyReader, endpoints: EndpointView) -> Self {
        Self {
            policies,
            endpoints,
            revision: 0,
            cache: HashMap::default(),
            budget: BUDGET,
            since: Instant::now(),
        }
    }

    /// Whether one more answer may be computed now.
    fn may_compute(&mut self) -> bool {
        if self.since.elapsed() >= SECOND {
            self.since = Instant::now();
            self.budget = BUDGET;
        }
        let left = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        left
    }

    fn compute(&self, question: &Question) -> Option<Arc<str>> {
        let state = self.policies.get();
        let pod = self.endpoints.get(question.endpoint)?.pod.clone()?;
        let pod = state.cluster.pods.get(&pod)?;
        let protocol = Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.number() == question.protocol)
            .map_or(ProtocolClass::Other, ProtocolClass::Named);
        let direction = match question.direction {
            Direction::Ingress => model::Direction::Ingress,
            Direction::Egress => model::Direction::Egress,
        };
        let Question { remote, port, .. } = *question;
        explain::nearest_miss(&state.cluster, pod, direction, remote, protocol, port).map(Arc::from)
    }
}

impl NearestMiss for Misses {
    fn nearest_miss(
        &mut self,
        endpoint: u32,
        direction: Direction,
        remote: IpAddr,
        protocol: u8,
        port: u16,
    ) -> Option<Arc<str>> {
        let revision = self.policies.get().revision;
        if revision != self.revision {
            self.revision = revision;
            self.cache.clear();
        }
        let question = Question {
            endpoint,
            direction,
            remote,
            protocol,
            port,
        };
        if let Some(answer) = self.cache.get(&question) {
            return answer.clone();
        }
        if !self.may_compute() {
            return None;
        }
        let answer = self.compute(&question);
        if self.cache.len() >= CACHE {
            self.cache.clear();
        }
        self.cache.insert(question, answer.clone());
        answer
    }
}
