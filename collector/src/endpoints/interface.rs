//! A living endpoint, as its manager keeps it.

use std::sync::Arc;
use std::time::Instant;

use weir_datapath::abi::endpoint_flag;
use weir_flow::{Mode, Timestamp};
use weir_policy::model::Name;

use super::mapping::LocalPod;
use super::view::{EndpointInfo, EndpointState};
use crate::apply::EndpointSpec;
use crate::kernel::Presence;

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) slot: u32,
    pub(super) name: Arc<str>,
    pub(super) spec: EndpointSpec,
    pub(super) pod: Option<LocalPod>,
    pub(super) state: EndpointState,
    pub(super) attached_at: Timestamp,
    pub(super) programmed_at: Option<Timestamp>,
    /// Since when this process knows it.
    pub(super) since: Instant,
    /// Somebody has been told that nobody knows whose it is.
    pub(super) warned: bool,
    pub(super) presence: Presence,
}

impl Interface {
    /// One that is nobody's yet.
    pub(super) fn new(slot: u32, name: &str, spec: EndpointSpec, attached_at: Timestamp) -> Self {
        Self {
            slot,
            name: name.into(),
            spec,
            pod: None,
            state: EndpointState::Unmapped,
            attached_at,
            programmed_at: None,
            since: Instant::now(),
            warned: false,
            presence: Presence::First,
        }
    }

    /// Remembers when its policies came into force, or that they are not.
    pub(super) fn stamp(&mut self, now: Timestamp) {
        self.programmed_at = match self.state {
            EndpointState::Programmed => self.programmed_at.or(Some(now)),
            EndpointState::Unmapped | EndpointState::Pending => None,
            EndpointState::Gone => self.programmed_at,
        };
    }

    /// Its pod, if that pod's policies are in force.
    pub(super) fn programmed(&self) -> Option<&Name> {
        let pod = self.pod.as_ref().map(|pod| &pod.name);
        pod.filter(|_| self.state == EndpointState::Programmed)
    }

    /// What others see of it.
    pub(super) fn info(&self) -> Arc<EndpointInfo> {
        Arc::new(EndpointInfo {
            id: self.spec.id,
            slot: self.slot,
            ifindex: self.spec.ifindex,
            interface: Arc::clone(&self.name),
            pod: self.pod.as_ref().map(|pod| pod.name.clone()),
            uid: self
                .pod
                .as_ref()
                .map_or_else(|| "".into(), |pod| pod.uid.as_str().into()),
            addresses: self.spec.addresses.clone(),
            mode: mode_of(self.spec.flags),
            state: self.state,
            attached_at: self.attached_at,
            programmed_at: self.programmed_at,
        })
    }
}

/// The mode that an endpoint's flags stand for.
pub(super) fn mode_of(flags: u32) -> Mode {
    if flags & endpoint_flag::OBSERVE != 0 {
        Mode::Observe
    } else if flags & endpoint_flag::AUDIT != 0 {
        Mode::Audit
    } else {
        Mode::Enforce
    }
}
