//! When a start is over: the pods that are there have their policies.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval};
use tracing::warn;

use crate::endpoints::{EndpointState, EndpointView, LocalPod};
use crate::policy_state::PolicyReader;

/// A pod on a bridge that has never spoken is asked for by neighbour solicitation, every half second.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// What there is to wait for before a collector calls itself ready.
pub(crate) struct Settling {
    /// The node whose pods are meant.
    pub(crate) node: Arc<str>,
    /// Which pods there are.
    pub(crate) policies: PolicyReader,
    /// Which of them are programmed.
    pub(crate) endpoints: EndpointView,
}

impl Settling {
    /// Waits until no interface waits for its pod's policies, or every pod has them, or for some seconds: an interface
    /// may be nobody's, and a pod may have none yet.
    pub(crate) async fn settled(&self) {
        let mut look = interval(LOOK);
        let end = Instant::now() + PATIENCE;
        while !self.is_settled() {
            if Instant::now() > end {
                warn!(
                    interfaces = self.waiting(),
                    "ready, but not all interfaces could be told to be a pod's (weir status --pods)"
                );
                return;
            }
            look.tick().await;
        }
    }

    fn is_settled(&self) -> bool {
        self.waiting() == 0 || self.all_pods_are_programmed()
    }

    /// Interfaces without policies.
    fn waiting(&self) -> usize {
        let waits = |state| matches!(state, EndpointState::Unmapped | EndpointState::Pending);
        let all = self.endpoints.all();
        all.iter().filter(|endpoint| waits(endpoint.state)).count()
    }

    fn all_pods_are_programmed(&self) -> bool {
        let state = self.policies.get();
        LocalPod::of_node(&state.cluster, &self.node)
            .iter()
            .all(|pod| {
                let endpoint = self.endpoints.of_pod(&pod.name);
                endpoint.is_some_and(|endpoint| endpoint.state == EndpointState::Programmed)
            })
    }
}
