//! The endpoints as the rest of the collector sees them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_flow::{Mode, Timestamp};
use weir_policy::model::Name;

/// Where an endpoint is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Attached, but nobody knows whose interface it is; its posture decides.
    Unmapped,
    /// A pod's, whose policies are not known yet; its posture decides.
    Pending,
    /// Its pod's policies are in force.
    Programmed,
    /// Its interface has gone, or was none of a pod's. Entries that it left still name it.
    Gone,
}

impl EndpointState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Unmapped, Self::Pending, Self::Programmed, Self::Gone];

    /// The state's name in status reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Pending => "pending",
            Self::Programmed => "programmed",
            Self::Gone => "gone",
        }
    }
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Its number, as in flow entries.
    pub id: u32,
    /// Its slot while it lives; another's perhaps once it is gone.
    pub slot: u32,
    /// Its interface.
    pub ifindex: u32,
    /// Its interface's name.
    pub interface: Arc<str>,
    /// Its pod.
    pub pod: Option<Name>,
    /// Its pod's uid.
    pub uid: Arc<str>,
    /// Its pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// What is done with denied traffic.
    pub mode: Mode,
    /// Where it is in its life.
    pub state: EndpointState,
    /// Since when its packets pass the programs, as far as this process knows.
    pub attached_at: Timestamp,
    /// Since when its policies are in force.
    pub programmed_at: Option<Timestamp>,
}

/// What happened to an endpoint. A receiver that lags behind reads the view again.
#[derive(Clone, Debug)]
pub enum EndpointEvent {
    /// It carries the programs.
    Up(Arc<EndpointInfo>),
    /// Whose it is, or its addresses, have changed.
    Mapped(Arc<EndpointInfo>),
    /// Its pod's policies came into force.
    Programmed(Arc<EndpointInfo>),
    /// It is no more.
    Gone(Arc<EndpointInfo>),
}

type Table = HashMap<u32, Arc<EndpointInfo>>;

/// All endpoints, by number; a clone is the same view. Those that are gone stay for a while.
#[derive(Clone, Debug, Default)]
pub struct EndpointView(Arc<ArcSwap<Table>>);

impl EndpointView {
    /// One endpoint.
    pub fn get(&self, id: u32) -> Option<Arc<EndpointInfo>> {
        self.0.load().get(&id).cloned()
    }

    /// The slot of a living endpoint.
    pub fn slot(&self, id: u32) -> Option<u32> {
        self.get(id)
            .filter(|endpoint| endpoint.state != EndpointState::Gone)
            .map(|endpoint| endpoint.slot)
    }

    /// The living endpoint of a pod.
    pub fn of_pod(&self, pod: &Name) -> Option<Arc<EndpointInfo>> {
        let table = self.0.load();
        let living = table
            .values()
            .filter(|endpoint| endpoint.state != EndpointState::Gone);
        living
            .into_iter()
            .find(|endpoint| endpoint.pod.as_ref() == Some(pod))
            .cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<EndpointInfo>> {
        self.0.load().values().cloned().collect()
    }

    pub(super) fn put(&self, endpoint: Arc<EndpointInfo>) {
        self.0.rcu(|table| {
            let mut table = Table::clone(table);
            table.insert(endpoint.id, Arc::clone(&endpoint));
            table
        });
    }

    pub(super) fn forget(&self, ids: &[u32]) {
        self.0.rcu(|table| {
            let mut table = Table::clone(table);
            table.retain(|id, _| !ids.contains(id));
            table
        });
    }
}
