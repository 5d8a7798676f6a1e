//! One packet at a time.

use std::collections::HashMap;
use std::net::IpAddr;

use weir_datapath::abi::{
    self, DenialKey4, DenialKey6, Direction, Event, EventKind, FlowKey4, FlowKey6, Reason,
    endpoint_protocol,
};
use weir_policy::model::{Name, Protocol};

use super::{KernelTestError, frames, spec};
use crate::kernel::{
    FlowTables, KernelError, MapWrite, MapWriter as _, PacketOrigin, PacketRunner, Passed,
    PolicyMaps, Rings,
};

/// The loopback device's number, in every network namespace.
pub(super) const LOOPBACK: u32 = 1;
/// An interface that a forwarded packet came in by: any other will do.
const ELSEWHERE: u32 = 2;

/// Where the other side of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Somewhere else: a pod, another node, outside.
    Elsewhere,
    /// A process of the pod's own node.
    OwnNode,
    /// The pod itself, by way of its own Service.
    ItsOwnInterface,
}

/// A packet that opens a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The pod at whose interface it is judged.
    pub pod: Name,
    /// Which way it goes.
    pub direction: Direction,
    /// The other side's address.
    pub remote: IpAddr,
    /// Where a packet to the pod comes from.
    pub from: Remote,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
}

/// What the kernel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Whether the packet went on.
    pub passed: Passed,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: u32,
    /// The policy set that decided.
    pub set: u32,
    /// The policy epoch of the verdict.
    pub epoch: u32,
}

/// Runs packets and reads what the programs say about them.
pub struct Prober {
    runner: PacketRunner,
    tables: FlowTables,
    rings: Rings,
    pods: HashMap<Name, (u32, Vec<IpAddr>)>,
    runs: u32,
}

impl Prober {
    pub(super) fn new(runner: PacketRunner, tables: FlowTables, rings: Rings) -> Self {
        Self {
            runner,
            tables,
            rings,
            pods: HashMap::new(),
            runs: 0,
        }
    }

    pub(super) fn set_pod(&mut self, slot: u32, name: &Name, addresses: &[IpAddr]) {
        self.pods.insert(name.clone(), (slot, addresses.to_vec()));
    }

    pub(super) fn forget_pods(&mut self) {
        self.pods.clear();
    }

    /// Runs one packet at the pod's endpoint, with the sets that are in its slot right now.
    pub(super) fn probe(
        &mut self,
        maps: &mut PolicyMaps,
        probe: &Probe,
    ) -> Result<Observed, KernelTestError> {
        let (slot, local) = self.local(probe)?;
        let addresses = self.addresses(&probe.pod);
        self.place(maps, slot, &addresses)?;
        let frame = self.frame(probe, local);
        let origin = match probe.from {
            Remote::OwnNode => PacketOrigin::Local,
            Remote::Elsewhere => PacketOrigin::Forwarded(ELSEWHERE),
            Remote::ItsOwnInterface => PacketOrigin::Forwarded(LOOPBACK),
        };
        let passed = self.runner.run(probe.direction, LOOPBACK, origin, &frame)?;
        let event = self.event()?.ok_or_else(|| KernelTestError::Silent {
            pod: probe.pod.clone(),
        })?;
        self.forget(&event)?;
        Ok(Observed {
            passed,
            reason: Reason::from_u8(event.reason).ok_or_else(|| KernelTestError::Silent {
                pod: probe.pod.clone(),
            })?,
            rule: event.rule,
            set: event.set,
            epoch: event.epoch,
        })
    }

    /// The pod's slot and its address of the other side's family.
    pub(super) fn local(&self, probe: &Probe) -> Result<(u32, IpAddr), KernelTestError> {
        let pod = || probe.pod.clone();
        let (slot, addresses) = self
            .pods
            .get(&probe.pod)
            .ok_or_else(|| KernelTestError::UnknownPod { pod: pod() })?;
        let local = addresses
            .iter()
            .find(|address| address.is_ipv4() == probe.remote.is_ipv4());
        let local = local.ok_or_else(|| KernelTestError::NoAddress {
            pod: pod(),
            remote: probe.remote,
        })?;
        Ok((*slot, *local))
    }

    fn addresses(&self, pod: &Name) -> Vec<IpAddr> {
        self.pods
            .get(pod)
            .map(|(_, addresses)| addresses.clone())
            .unwrap_or_default()
    }

    /// Puts the endpoint where the packet will look for it.
    fn place(
        &self,
        maps: &mut PolicyMaps,
        slot: u32,
        addresses: &[IpAddr],
    ) -> Result<(), KernelError> {
        let sets = match maps.inverse(&MapWrite::Sets(slot, abi::EndpointSets::default()))? {
            MapWrite::Sets(_, sets) => sets,
            _ => abi::EndpointSets::default(),
        };
        maps.write(&MapWrite::Sets(LOOPBACK, sets))?;
        maps.write(&MapWrite::Endpoint(LOOPBACK, spec(slot, addresses).entry()))
    }

    /// Every packet has a source port of its own for some 20,000 runs, so that none belongs to a flow before it.
    fn frame(&mut self, probe: &Probe, local: IpAddr) -> Vec<u8> {
        self.runs = (self.runs + 1) % 20_000;
        let source_port = 40_000 + self.runs as u16;
        let (source, destination) = match probe.direction {
            Direction::Egress => (local, probe.remote),
            Direction::Ingress => (probe.remote, local),
        };
        frames::opener(
            probe.protocol,
            (source, source_port),
            (destination, probe.port),
        )
        .unwrap_or_default()
    }

    /// What the programs said about the last packet.
    fn event(&mut self) -> Result<Option<Event>, KernelError> {
        let mut last = None;
        self.rings.read(64, |event| last = Some(*event));
        self.rings.release();
        Ok(last)
    }

    /// Removes the entry that the packet made.
    fn forget(&mut self, event: &Event) -> Result<(), KernelError> {
        let owner = endpoint_protocol(event.endpoint, event.protocol);
        let is_denial = event.kind == EventKind::Denied as u8;
        let port = if event.direction == Direction::Ingress as u8 {
            event.local_port
        } else {
            event.remote_port
        };
        match (event.family, is_denial) {
            (6, false) => self.tables.delete(&FlowKey6 {
                remote: event.remote,
                local: event.local,
                local_port: event.local_port,
                remote_port: event.remote_port,
                endpoint_protocol: owner,
            }),
            (6, true) => self.tables.delete(&DenialKey6 {
                remote: event.remote,
                local: event.local,
                port,
                reason: event.reason,
                direction: event.direction,
                endpoint_protocol: owner,
                ethertype: event.ethertype,
            }),
            (_, false) => self.tables.delete(&FlowKey4 {
                remote: first_four(event.remote),
                local: first_four(event.local),
                local_port: event.local_port,
                remote_port: event.remote_port,
                endpoint_protocol: owner,
            }),
            (_, true) => self.tables.delete(&DenialKey4 {
                remote: first_four(event.remote),
                local: first_four(event.local),
                port,
                reason: event.reason,
                direction: event.direction,
                endpoint_protocol: owner,
                ethertype: event.ethertype,
            }),
        }
    }
}

fn first_four(address: [u8; 16]) -> u32 {
    u32::from_ne_bytes([address[0], address[1], address[2], address[3]])
}
