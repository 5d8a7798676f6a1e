//! What the programs know about a pod's interface.

use std::net::IpAddr;

use tracing::warn;
use weir_datapath::abi::{self, endpoint_flag};
use weir_policy::model::Name;

use super::{Applier, convert};
use crate::config::Posture;
use crate::kernel::{KernelError, MapWrite, MapWriter, Overflow, Present};

/// An endpoint as it is to stand in its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Its interface.
    pub ifindex: u32,
    /// Its number.
    pub id: u32,
    /// Mode bits of [`endpoint_flag`]; those about addresses are set from `addresses`.
    pub flags: u32,
    /// The pod's addresses, none while they are not known.
    pub addresses: Vec<IpAddr>,
    /// Further addresses it may send from.
    pub more_sources: Vec<IpAddr>,
    /// Until when (jiffies) TCP without SYN and without entry counts as established before attach.
    pub grace_until: u64,
    /// How many flows seen in one direction only it may hold.
    pub nascent_quota: u32,
    /// How many flows seen in both directions it may hold.
    pub flow_quota: u32,
}

/// Whether an endpoint's policies are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programmed {
    /// They are.
    Yes,
    /// They are not known yet: its posture decides.
    Pending,
}

impl EndpointSpec {
    /// All further addresses, those beyond one of each family included.
    fn sources(&self) -> impl Iterator<Item = abi::SourceKey> + '_ {
        let (v4, v6) = (self.first(IpAddr::is_ipv4), self.first(IpAddr::is_ipv6));
        let beyond = self
            .addresses
            .iter()
            .filter(move |address| Some(**address) != v4 && Some(**address) != v6);
        beyond
            .chain(&self.more_sources)
            .map(|address| source_key(self.id, *address))
    }

    fn first(&self, is_family: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|address| is_family(address))
    }

    /// The entry as the programs read it.
    pub(crate) fn entry(&self) -> abi::Endpoint {
        let mut flags = self.flags;
        if !self.addresses.is_empty() {
            flags |= endpoint_flag::CHECK_SOURCE;
        }
        if self.sources().next().is_some() {
            flags |= endpoint_flag::MORE_SOURCES;
        }
        let (mut ipv4, mut ipv6) = (0, [0; 16]);
        if let Some(IpAddr::V4(address)) = self.first(IpAddr::is_ipv4) {
            ipv4 = u32::from_ne_bytes(address.octets());
        }
        if let Some(IpAddr::V6(address)) = self.first(IpAddr::is_ipv6) {
            ipv6 = address.octets();
        }
        abi::Endpoint {
            ifindex: self.ifindex,
            id: self.id,
            flags,
            ipv4,
            ipv6,
            grace_until: self.grace_until,
            nascent_quota: self.nascent_quota,
            flow_quota: self.flow_quota,
            reserved: [0; 2],
        }
    }
}

fn source_key(endpoint: u32, address: IpAddr) -> abi::SourceKey {
    let (family, mut bytes) = (if address.is_ipv4() { 4 } else { 6 }, [0; 16]);
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    abi::SourceKey {
        endpoint,
        family,
        address: bytes,
    }
}

/// The sets of an endpoint whose policies are not known.
pub(super) fn posture_sets(posture: Posture) -> abi::EndpointSets {
    let set = match posture {
        Posture::Allow => abi::set::PENDING_ALLOW,
        Posture::Deny => abi::set::PENDING_DENY,
    };
    abi::EndpointSets {
        ingress: set,
        egress: set,
    }
}

impl<W: MapWriter> Applier<W> {
    /// Puts a new endpoint into an empty slot, pending. Its interface must not carry the programs yet.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn add_endpoint(
        &mut self,
        slot: u32,
        spec: &EndpointSpec,
        posture: Posture,
    ) -> Result<(), KernelError> {
        for overflow in Overflow::all(spec.id) {
            match self
                .writer
                .write(&MapWrite::Overflow(overflow, Present::Yes))
            {
                Ok(()) => {}
                Err(KernelError::Full { map }) => {
                    warn!(
                        map,
                        endpoint = spec.id,
                        "no room for its overflow entries: the ledger will count instead"
                    );
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.writer
            .write(&MapWrite::Use(slot, abi::EndpointUse::default()))?;
        self.writer
            .write(&MapWrite::Sets(slot, posture_sets(posture)))?;
        for source in spec.sources() {
            self.writer.write(&MapWrite::Source(source, Present::Yes))?;
        }
        self.writer.write(&MapWrite::Endpoint(slot, spec.entry()))
    }

    /// Changes a living endpoint. An entry is not written atomically, so the source check pauses while addresses change.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn change_endpoint(
        &mut self,
        slot: u32,
        old: &EndpointSpec,
        new: &EndpointSpec,
    ) -> Result<(), KernelError> {
        if old == new {
            return Ok(());
        }
        let unchecked = |entry: abi::Endpoint| abi::Endpoint {
            flags: entry.flags & !endpoint_flag::CHECK_SOURCE,
            ..entry
        };
        let (before, after) = (old.entry(), new.entry());
        for source in new.sources() {
            self.writer.write(&MapWrite::Source(source, Present::Yes))?;
        }
        if (before.ipv4, before.ipv6) != (after.ipv4, after.ipv6) {
            self.writer
                .write(&MapWrite::Endpoint(slot, unchecked(before)))?;
            self.writer
                .write(&MapWrite::Endpoint(slot, unchecked(after)))?;
        }
        self.writer.write(&MapWrite::Endpoint(slot, after))?;
        for source in old
            .sources()
            .filter(|source| new.sources().all(|kept| kept != *source))
        {
            self.writer.write(&MapWrite::Source(source, Present::No))?;
        }
        Ok(())
    }

    /// Says which pod a slot is. Its sets come into force now if they are known, else with the update that brings them.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn bind(&mut self, slot: u32, pod: &Name) -> Result<Programmed, KernelError> {
        self.slots.retain(|_, bound| *bound != slot);
        self.slots.insert(pod.clone(), slot);
        let Some(sets) = self.sets.get(pod) else {
            return Ok(Programmed::Pending);
        };
        self.writer
            .write(&MapWrite::Sets(slot, convert::sets(*sets)))?;
        Ok(Programmed::Yes)
    }

    /// Says that a slot is no pod's any more: it is pending again.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn unbind(&mut self, slot: u32, posture: Posture) -> Result<(), KernelError> {
        self.slots.retain(|_, bound| *bound != slot);
        self.writer
            .write(&MapWrite::Sets(slot, posture_sets(posture)))
    }

    /// Forgets which slots pods have; nothing is written.
    pub fn unbind_all(&mut self) {
        self.slots.clear();
    }

    /// Whether the sets of a pod are known.
    pub fn knows(&self, pod: &Name) -> Programmed {
        if self.sets.contains_key(pod) {
            Programmed::Yes
        } else {
            Programmed::Pending
        }
    }

    /// Empties a slot, once its interface carries no program. What its overflow entries have counted is still to be
    /// read: retire and delete them with the endpoint's other entries.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn remove_endpoint(&mut self, slot: u32, spec: &EndpointSpec) -> Result<(), KernelError> {
        self.slots.retain(|_, bound| *bound != slot);
        self.writer
            .write(&MapWrite::Endpoint(slot, abi::Endpoint::default()))?;
        self.writer
            .write(&MapWrite::Sets(slot, abi::EndpointSets::default()))?;
        for source in spec.sources() {
            self.writer.write(&MapWrite::Source(source, Present::No))?;
        }
        Ok(())
    }
}
