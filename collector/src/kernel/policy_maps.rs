//! The maps that user space writes and the programs read.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, IterableMap as _, MapData, MapError};
use aya::{Ebpf, Pod};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weir_datapath::abi::{self, maps};

use super::error::{io_error, map_error};
use super::load::take;
use super::sys::BatchReader;
use super::{FrontendKey, KernelError, MapWrite, MapWriter, Present};

type Hash<K, V> = HashMap<MapData, K, V>;

/// Handles of the maps that carry policy and endpoints.
pub struct PolicyMaps {
    endpoints: Array<MapData, abi::Endpoint>,
    sets: Array<MapData, abi::EndpointSets>,
    uses: Array<MapData, abi::EndpointUse>,
    control: Array<MapData, abi::Control>,
    sources: Hash<abi::SourceKey, u32>,
    frontends4: Hash<abi::FrontendKey4, u32>,
    frontends6: Hash<abi::FrontendKey6, u32>,
    peers4: Hash<u32, abi::Peer>,
    peers6: Hash<[u8; 16], abi::Peer>,
    networks4: LpmTrie<MapData, [u8; 4], abi::Peer>,
    networks6: LpmTrie<MapData, [u8; 16], abi::Peer>,
    verdicts: Hash<abi::VerdictKey, abi::PortTable>,
    ports: Array<MapData, abi::PortRange>,
    denials4: Hash<abi::DenialKey4, abi::Denial>,
    /// What the tries hold: a lookup there answers with the longest match, not with the CIDR asked for.
    networks: BTreeMap<IpNet, abi::Peer>,
    capacities: BTreeMap<&'static str, u32>,
}

/// Everything that an earlier run left in the policy maps.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// The policy epoch.
    pub epoch: u32,
    /// Occupied slots.
    pub endpoints: Vec<(u32, abi::Endpoint, abi::EndpointSets)>,
    /// Further source addresses.
    pub sources: Vec<abi::SourceKey>,
    /// Address → class.
    pub peers: Vec<(IpAddr, abi::Peer)>,
    /// CIDR → class.
    pub networks: Vec<(IpNet, abi::Peer)>,
    /// Front end → class.
    pub frontends: Vec<(FrontendKey, u32)>,
    /// (set, identity) → port table.
    pub verdicts: Vec<(abi::VerdictKey, abi::PortTable)>,
    /// The ranges that some port table refers to, by index.
    pub ports: BTreeMap<u32, abi::PortRange>,
}

impl PolicyMaps {
    pub(super) fn open(ebpf: &mut Ebpf, denials4: MapData) -> Result<Self, KernelError> {
        let mut capacities = BTreeMap::new();
        for (name, map) in ebpf.maps() {
            let Some(name) = super::load::MAPS.iter().find(|known| **known == name) else {
                continue;
            };
            if let Some(entries) = max_entries(map) {
                capacities.insert(*name, entries);
            }
        }
        let denials4 = aya::maps::Map::HashMap(denials4);
        let mut maps = Self {
            endpoints: take(ebpf, maps::ENDPOINTS)?,
            sets: take(ebpf, maps::ENDPOINT_SETS)?,
            uses: take(ebpf, maps::ENDPOINT_USE)?,
            control: take(ebpf, maps::CONTROL)?,
            sources: take(ebpf, maps::SOURCES)?,
            frontends4: take(ebpf, maps::FRONTENDS4)?,
            frontends6: take(ebpf, maps::FRONTENDS6)?,
            peers4: take(ebpf, maps::PEERS4)?,
            peers6: take(ebpf, maps::PEERS6)?,
            networks4: take(ebpf, maps::NETWORKS4)?,
            networks6: take(ebpf, maps::NETWORKS6)?,
            verdicts: take(ebpf, maps::VERDICTS)?,
            ports: take(ebpf, maps::PORTS)?,
            denials4: denials4
                .try_into()
                .map_err(|error| map_error("opening", maps::DENIALS4, error))?,
            networks: BTreeMap::new(),
            capacities,
        };
        maps.networks = maps.read_networks()?;
        Ok(maps)
    }

    /// The endpoint in a slot.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn endpoint(&self, slot: u32) -> Result<abi::Endpoint, KernelError> {
        self.endpoints
            .get(&slot, 0)
            .map_err(|error| map_error("reading", maps::ENDPOINTS, error))
    }

    /// How many flow entries the endpoint in a slot holds.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn endpoint_use(&self, slot: u32) -> Result<abi::EndpointUse, KernelError> {
        self.uses
            .get(&slot, 0)
            .map_err(|error| map_error("reading", maps::ENDPOINT_USE, error))
    }

    /// Reads all that is there, for adoption.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`].
    pub fn dump(&self) -> Result<Dump, KernelError> {
        let mut dump = Dump {
            epoch: self.epoch()?,
            ..Dump::default()
        };
        for slot in 0..abi::ENDPOINT_SLOTS {
            let endpoint = self.endpoint(slot)?;
            if endpoint.ifindex != 0 {
                dump.endpoints.push((slot, endpoint, self.sets_of(slot)?));
            }
        }
        read_all(&self.sources, maps::SOURCES, |key, _| {
            dump.sources.push(*key)
        })?;
        read_all(&self.peers4, maps::PEERS4, |key, peer| {
            dump.peers.push((ip4(*key), *peer))
        })?;
        read_all(&self.peers6, maps::PEERS6, |key, peer| {
            dump.peers.push((ip6(*key), *peer))
        })?;
        read_all(&self.frontends4, maps::FRONTENDS4, |key, identity| {
            let key = FrontendKey {
                address: ip4(key.address),
                port: key.port,
                protocol: key.protocol,
            };
            dump.frontends.push((key, *identity));
        })?;
        read_all(&self.frontends6, maps::FRONTENDS6, |key, identity| {
            let key = FrontendKey {
                address: ip6(key.address),
                port: key.port,
                protocol: key.protocol,
            };
            dump.frontends.push((key, *identity));
        })?;
        read_all(&self.verdicts, maps::VERDICTS, |key, table| {
            dump.verdicts.push((*key, *table))
        })?;
        dump.networks = self
            .networks
            .iter()
            .map(|(network, peer)| (*network, *peer))
            .collect();
        self.dump_ports(&mut dump)?;
        Ok(dump)
    }

    fn read_networks(&self) -> Result<BTreeMap<IpNet, abi::Peer>, KernelError> {
        let mut networks = BTreeMap::new();
        for entry in self.networks4.iter() {
            let (key, peer) =
                entry.map_err(|error| map_error("reading", maps::NETWORKS4, error))?;
            if let Ok(network) = Ipv4Net::new(Ipv4Addr::from(key.data()), key.prefix_len() as u8) {
                networks.insert(network.into(), peer);
            }
        }
        for entry in self.networks6.iter() {
            let (key, peer) =
                entry.map_err(|error| map_error("reading", maps::NETWORKS6, error))?;
            if let Ok(network) = Ipv6Net::new(Ipv6Addr::from(key.data()), key.prefix_len() as u8) {
                networks.insert(network.into(), peer);
            }
        }
        Ok(networks)
    }

    fn dump_ports(&self, dump: &mut Dump) -> Result<(), KernelError> {
        for (_, table) in &dump.verdicts {
            for index in table.first..table.first.saturating_add(table.count) {
                if !dump.ports.contains_key(&index) {
                    dump.ports.insert(index, self.port_range(index)?);
                }
            }
        }
        Ok(())
    }

    fn epoch(&self) -> Result<u32, KernelError> {
        let control = self
            .control
            .get(&0, 0)
            .map_err(|error| map_error("reading", maps::CONTROL, error))?;
        Ok(control.epoch)
    }

    fn sets_of(&self, slot: u32) -> Result<abi::EndpointSets, KernelError> {
        self.sets
            .get(&slot, 0)
            .map_err(|error| map_error("reading", maps::ENDPOINT_SETS, error))
    }

    fn port_range(&self, index: u32) -> Result<abi::PortRange, KernelError> {
        self.ports
            .get(&index, 0)
            .map_err(|error| map_error("reading", maps::PORTS, error))
    }
}

impl MapWriter for PolicyMaps {
    fn write(&mut self, write: &MapWrite) -> Result<(), KernelError> {
        let result = match *write {
            MapWrite::Peer(IpAddr::V4(address), peer) => {
                put(&mut self.peers4, &raw4(address), peer)
            }
            MapWrite::Peer(IpAddr::V6(address), peer) => {
                put(&mut self.peers6, &address.octets(), peer)
            }
            MapWrite::Network(IpNet::V4(net), peer) => put_network(
                &mut self.networks4,
                &Key::new(u32::from(net.prefix_len()), net.network().octets()),
                peer,
            ),
            MapWrite::Network(IpNet::V6(net), peer) => put_network(
                &mut self.networks6,
                &Key::new(u32::from(net.prefix_len()), net.network().octets()),
                peer,
            ),
            MapWrite::Frontend(key, identity) => match key.address {
                IpAddr::V4(address) => {
                    put(&mut self.frontends4, &frontend4(&key, address), identity)
                }
                IpAddr::V6(address) => {
                    put(&mut self.frontends6, &frontend6(&key, address), identity)
                }
            },
            MapWrite::Verdict(key, table) => put(&mut self.verdicts, &key, table),
            MapWrite::PortRange(index, range) => self.ports.set(index, range, 0),
            MapWrite::Endpoint(slot, endpoint) => self.endpoints.set(slot, endpoint, 0),
            MapWrite::Sets(slot, sets) => self.sets.set(slot, sets, 0),
            MapWrite::Use(slot, counts) => self.uses.set(slot, counts, 0),
            MapWrite::Source(key, Present::Yes) => put(&mut self.sources, &key, Some(1)),
            MapWrite::Source(key, Present::No) => put(&mut self.sources, &key, None),
            MapWrite::Epoch(epoch) => self.control.set(0, abi::Control { epoch, reserved: 0 }, 0),
            MapWrite::Overflow(key, Present::Yes) => add(&mut self.denials4, &key),
            MapWrite::Overflow(key, Present::No) => put(&mut self.denials4, &key, None),
        };
        result.map_err(|error| map_error("writing", write.map(), error))?;
        match *write {
            MapWrite::Network(network, Some(peer)) => _ = self.networks.insert(network, peer),
            MapWrite::Network(network, None) => _ = self.networks.remove(&network),
            _ => {}
        }
        Ok(())
    }

    fn inverse(&self, write: &MapWrite) -> Result<MapWrite, KernelError> {
        let reading = |error| map_error("reading", write.map(), error);
        let inverse = match *write {
            MapWrite::Peer(IpAddr::V4(address), _) => MapWrite::Peer(
                address.into(),
                there(self.peers4.get(&raw4(address), 0)).map_err(reading)?,
            ),
            MapWrite::Peer(IpAddr::V6(address), _) => MapWrite::Peer(
                address.into(),
                there(self.peers6.get(&address.octets(), 0)).map_err(reading)?,
            ),
            MapWrite::Network(network, _) => {
                MapWrite::Network(network, self.networks.get(&network).copied())
            }
            MapWrite::Frontend(key, _) => {
                let identity = match key.address {
                    IpAddr::V4(address) => self.frontends4.get(&frontend4(&key, address), 0),
                    IpAddr::V6(address) => self.frontends6.get(&frontend6(&key, address), 0),
                };
                MapWrite::Frontend(key, there(identity).map_err(reading)?)
            }
            MapWrite::Verdict(key, _) => {
                MapWrite::Verdict(key, there(self.verdicts.get(&key, 0)).map_err(reading)?)
            }
            MapWrite::PortRange(index, _) => MapWrite::PortRange(index, self.port_range(index)?),
            MapWrite::Endpoint(slot, _) => MapWrite::Endpoint(slot, self.endpoint(slot)?),
            MapWrite::Sets(slot, _) => MapWrite::Sets(slot, self.sets_of(slot)?),
            MapWrite::Use(slot, _) => MapWrite::Use(slot, self.endpoint_use(slot)?),
            MapWrite::Source(key, _) => MapWrite::Source(
                key,
                presence(there(self.sources.get(&key, 0)).map_err(reading)?.is_some()),
            ),
            MapWrite::Epoch(_) => MapWrite::Epoch(self.epoch()?),
            MapWrite::Overflow(key, _) => MapWrite::Overflow(
                key,
                presence(
                    there(self.denials4.get(&key, 0))
                        .map_err(reading)?
                        .is_some(),
                ),
            ),
        };
        Ok(inverse)
    }

    fn capacity(&self, map: &'static str) -> u32 {
        self.capacities.get(map).copied().unwrap_or(0)
    }
}

fn max_entries(map: &aya::maps::Map) -> Option<u32> {
    use aya::maps::Map;
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::LpmTrie(data)
    | Map::LruHashMap(data)
    | Map::PerCpuHashMap(data)
    | Map::PerCpuArray(data)
    | Map::RingBuf(data)) = map
    else {
        return None;
    };
    Some(data.info().ok()?.max_entries())
}

fn read_all<K: Pod + Default, V: Pod + Default>(
    map: &Hash<K, V>,
    name: &'static str,
    visit: impl FnMut(&K, &V),
) -> Result<(), KernelError> {
    use std::os::fd::AsFd as _;
    let read = BatchReader::new(1024).read(map.map().fd().as_fd(), visit);
    read.map(|_| ())
        .map_err(|source| io_error("reading", name, source))
}

fn put<K: Pod, V: Pod>(map: &mut Hash<K, V>, key: &K, value: Option<V>) -> Result<(), MapError> {
    match value {
        Some(value) => map.insert(key, value, 0),
        None => unless_absent(map.remove(key)),
    }
}

/// Enters a denial entry if there is none: one that is there may have counted already.
fn add(
    map: &mut Hash<abi::DenialKey4, abi::Denial>,
    key: &abi::DenialKey4,
) -> Result<(), MapError> {
    const BPF_NOEXIST: u64 = 1;
    match map.insert(key, abi::Denial::default(), BPF_NOEXIST) {
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn put_network<K: Pod>(
    map: &mut LpmTrie<MapData, K, abi::Peer>,
    key: &Key<K>,
    peer: Option<abi::Peer>,
) -> Result<(), MapError> {
    match peer {
        Some(peer) => map.insert(key, peer, 0),
        None => unless_absent(map.remove(key)),
    }
}

fn unless_absent(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn there<V>(result: Result<V, MapError>) -> Result<Option<V>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn presence(is_there: bool) -> Present {
    if is_there { Present::Yes } else { Present::No }
}

fn raw4(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

fn ip4(address: u32) -> IpAddr {
    Ipv4Addr::from(address.to_ne_bytes()).into()
}

fn ip6(address: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(address).into()
}

fn frontend4(key: &FrontendKey, address: Ipv4Addr) -> abi::FrontendKey4 {
    abi::FrontendKey4 {
        address: raw4(address),
        port: key.port,
        protocol: key.protocol,
        reserved: 0,
    }
}

fn frontend6(key: &FrontendKey, address: Ipv6Addr) -> abi::FrontendKey6 {
    abi::FrontendKey6 {
        address: address.octets(),
        port: key.port,
        protocol: key.protocol,
        reserved: 0,
    }
}
