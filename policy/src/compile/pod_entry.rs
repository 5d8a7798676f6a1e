//! What the compiler keeps of a pod.

use std::net::IpAddr;
use std::sync::Arc;

use super::backends::Candidate;
use super::class::Base;
use crate::model::{Labels, Phase, Pod, Protocol};

const TERMINATING: u8 = 4;

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodEntry {
    /// What it is to the policies of others.
    pub(crate) base: Arc<Base>,
    /// What its own policies and Services select it by: all of its labels.
    pub(crate) labels: Labels,
    pub(crate) ips: [Option<IpAddr>; 2],
    pub(crate) placement: Placement,
    /// Who wins an address that several pods claim: the lowest.
    pub(crate) rank: u8,
}

/// Where a pod is, for policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// An endpoint of this node.
    Here,
    /// A pod with addresses of its own elsewhere.
    Elsewhere,
    /// In its node's network namespace: policies do not apply to it.
    HostNetwork,
}

impl Placement {
    pub(crate) fn of(pod: &Pod, node: &str) -> Self {
        match (pod.host_network, *pod.node == *node) {
            (true, _) => Self::HostNetwork,
            (false, true) => Self::Here,
            (false, false) => Self::Elsewhere,
        }
    }
}

impl PodEntry {
    /// Its addresses.
    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.ips.iter().flatten().copied()
    }

    /// Whether it is the same but for labels that no peer of a policy is selected by.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let of = |pod: &Self| (pod.ips, pod.placement, pod.rank);
        self.base == other.base && of(self) == of(other)
    }
}

impl Candidate for PodEntry {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.base.value.named_port(name, protocol)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ips()
    }

    fn is_ready(&self) -> bool {
        self.rank == 0
    }

    fn is_terminating(&self) -> bool {
        self.rank >= TERMINATING
    }
}

/// Its place among pods that claim the same address.
pub(crate) fn rank(pod: &Pod) -> u8 {
    let phase = match pod.phase {
        Phase::Running => 0,
        Phase::Pending => 1,
        Phase::Unknown => 2,
        Phase::Succeeded | Phase::Failed => 3,
    };
    if pod.terminating {
        TERMINATING + phase
    } else {
        phase
    }
}
