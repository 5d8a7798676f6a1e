//! Endpoints: the pods' interfaces of this node, from the moment a veth appears until what it left has been read.
//!
//! An interface whose other end is in another network namespace gets the programs at once, pending. Which pod it is, is
//! found out by how the node reaches the pod's address: a route to that address alone (ptp plugins), or a bridge's port
//! behind which a neighbour answered. A pod on a bridge that has never spoken is asked for by a neighbour solicitation.
//! Where nothing leads to a pod's address alone, its processes may tell (`PodMapping::Cgroup`).
//! Names of interfaces mean nothing. One that has a subnet or a default route is no pod's and is left alone.

mod actor;
mod adopt;
mod claim;
mod interface;
mod manager;
mod mapping;
mod netlink;
mod network;
mod process;
mod registry;
#[cfg(test)]
mod tests;
mod timing;
mod view;

use std::time::Duration;

use weir_datapath::abi::endpoint_flag;
use weir_flow::Mode;

use crate::apply::EndpointSpec;
use crate::config::{PodMapping, Posture, Scope};
use crate::kernel::{KernelError, Limits};
use crate::state::StateError;

pub use actor::{Endpoints, MapFill, Parts};
pub use claim::{Attaching, Claim, ClaimError};
pub use mapping::{LocalPod, SOURCES_ANNOTATION};
pub use registry::RegistryError;
pub use view::{EndpointEvent, EndpointInfo, EndpointState, EndpointView};

/// Settings of the endpoints.
#[derive(Clone, Debug)]
pub struct EndpointsConfig {
    /// Which interfaces.
    pub scope: Scope,
    /// What happens to pods whose policies are not known.
    pub posture: Posture,
    /// What is done with denied traffic, where a pod's namespace does not say otherwise.
    pub mode: Mode,
    /// How it is found out which interface is which pod's.
    pub mapping: PodMapping,
    /// How long after attaching TCP without SYN and without entry counts as established before.
    pub grace: Duration,
    /// How many flows seen in one direction only an endpoint may hold.
    pub nascent_quota: u32,
    /// How many flows seen in both directions an endpoint may hold.
    pub flow_quota: u32,
}

impl EndpointsConfig {
    /// The usual settings: pods by their addresses; a thirty-second grace time; no endpoint holds more than a quarter of
    /// the flow table, and a thirty-second part of it with flows that nobody answered.
    pub fn new(scope: Scope, posture: Posture, mode: Mode, limits: &Limits) -> Self {
        let (nascent_quota, flow_quota) =
            ((limits.flows / 32).max(64), (limits.flows / 4).max(256));
        Self {
            scope,
            posture,
            mode,
            mapping: PodMapping::Address,
            grace: Duration::from_secs(30),
            nascent_quota,
            flow_quota,
        }
    }

    /// A new endpoint that is nobody's.
    fn spec(&self, ifindex: u32, id: u32, grace_until: u64) -> EndpointSpec {
        EndpointSpec {
            ifindex,
            id,
            flags: self.flags(None),
            addresses: Vec::new(),
            more_sources: Vec::new(),
            grace_until,
            nascent_quota: self.nascent_quota,
            flow_quota: self.flow_quota,
        }
    }

    /// The same endpoint as a pod's, or as nobody's.
    fn for_pod(&self, spec: &EndpointSpec, pod: Option<&LocalPod>) -> EndpointSpec {
        let blank = self.spec(spec.ifindex, spec.id, spec.grace_until);
        match pod {
            None => blank,
            Some(pod) => EndpointSpec {
                addresses: pod.addresses.clone(),
                more_sources: pod.more_sources.clone(),
                flags: self.flags(pod.mode),
                ..blank
            },
        }
    }

    fn flags(&self, mode: Option<Mode>) -> u32 {
        let mode = match mode.unwrap_or(self.mode) {
            Mode::Enforce => 0,
            Mode::Audit => endpoint_flag::AUDIT,
            Mode::Observe => endpoint_flag::OBSERVE,
        };
        let side = match self.scope {
            Scope::Node => 0,
            Scope::Sidecar { .. } => endpoint_flag::SIDECAR,
        };
        mode | side
    }
}

/// Why endpoints could not be set up, or one of them not changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// Numbers and slots.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// rtnetlink.
    #[error("watching the network: {0}")]
    Netlink(String),
    /// The endpoints' thread could not be started, or has ended.
    #[error("the endpoints' thread: {0}")]
    Thread(String),
}
