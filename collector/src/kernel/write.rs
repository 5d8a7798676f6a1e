//! One map write: the unit in which policy reaches the kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_datapath::abi;

use super::{Family, KernelError, Overflow};

/// A Service front end as the maps know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrontendKey {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
}

/// One write to one entry of one map; a single system call, atomic for the programs except where noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapWrite {
    /// Address → class; `None` removes it.
    Peer(IpAddr, Option<abi::Peer>),
    /// CIDR → class.
    Network(IpNet, Option<abi::Peer>),
    /// Service front end → class.
    Frontend(FrontendKey, Option<u32>),
    /// (set, identity) → port table.
    Verdict(abi::VerdictKey, Option<abi::PortTable>),
    /// One range of the arena. Only written while no port table refers to it.
    PortRange(u32, abi::PortRange),
    /// A slot's endpoint. Not atomic: what a torn read would harm is switched off by a write before.
    Endpoint(u32, abi::Endpoint),
    /// A slot's two sets, one aligned 8-byte store.
    Sets(u32, abi::EndpointSets),
    /// A slot's use counts, before its endpoint sees a packet.
    Use(u32, abi::EndpointUse),
    /// A further address that an endpoint may send from.
    Source(abi::SourceKey, Present),
    /// The policy epoch.
    Epoch(u32),
    /// A denial entry made in advance, for when the table is full.
    Overflow(Overflow, Present),
}

/// Whether a key without a value is in its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl MapWrite {
    /// The map it goes to.
    pub fn map(&self) -> &'static str {
        use abi::maps;
        let by_family = |v4: bool, four, six| if v4 { four } else { six };
        match self {
            Self::Peer(address, _) => by_family(address.is_ipv4(), maps::PEERS4, maps::PEERS6),
            Self::Network(network, _) => by_family(
                matches!(network, IpNet::V4(_)),
                maps::NETWORKS4,
                maps::NETWORKS6,
            ),
            Self::Frontend(key, _) => {
                by_family(key.address.is_ipv4(), maps::FRONTENDS4, maps::FRONTENDS6)
            }
            Self::Verdict(..) => maps::VERDICTS,
            Self::PortRange(..) => maps::PORTS,
            Self::Endpoint(..) => maps::ENDPOINTS,
            Self::Sets(..) => maps::ENDPOINT_SETS,
            Self::Use(..) => maps::ENDPOINT_USE,
            Self::Source(..) => maps::SOURCES,
            Self::Epoch(_) => maps::CONTROL,
            Self::Overflow(entry, _) => {
                by_family(entry.family == Family::V4, maps::DENIALS4, maps::DENIALS6)
            }
        }
    }
}

/// Where map writes go. The one way by which policy reaches the kernel: a test that stops a change after any single
/// write does so here.
pub trait MapWriter {
    /// Does one write. Removing what is not there is no error.
    ///
    /// # Errors
    ///
    /// [`KernelError::Full`] if the map has no room, [`KernelError::Map`] otherwise.
    fn write(&mut self, write: &MapWrite) -> Result<(), KernelError>;

    /// The write that would restore what is there now, where `write` would go.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if it cannot be read.
    fn inverse(&self, write: &MapWrite) -> Result<MapWrite, KernelError>;

    /// How many entries the map of this name can hold.
    fn capacity(&self, map: &'static str) -> u32;
}
