//! The maps that user space writes and the programs read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, IterableMap as _, MapData, MapError};
use aya::{Ebpf, Pod};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::time::{ClockId, clock_gettime};
use weir_datapath::abi::{self, maps};

use super::error::{io_error, map_error};
use super::load::take;
use super::mapped::MappedWords;
use super::sys::{self, BatchReader};
use super::{Family, FlowTables, FrontendKey, KernelError, MapWrite, MapWriter, Overflow, Present};

type Hash<K, V> = HashMap<MapData, K, V>;

/// Handles of the maps that carry policy and endpoints.
pub struct PolicyMaps {
    endpoints: Array<MapData, abi::Endpoint>,
    sets: MappedWords,
    uses: Array<MapData, abi::EndpointUse>,
    control: MappedWords,
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
    denials6: Hash<abi::DenialKey6, abi::Denial>,
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
    pub(super) fn open(ebpf: &mut Ebpf, tables: &FlowTables) -> Result<Self, KernelError> {
        let mut capacities = BTreeMap::new();
        for (name, map) in ebpf.maps() {
            let Some(name) = super::load::MAPS.iter().find(|known| **known == name) else {
                continue;
            };
            if let Some(entries) = max_entries(map) {
                capacities.insert(*name, entries);
            }
        }
        let mut maps = Self {
            endpoints: take(ebpf, maps::ENDPOINTS)?,
            sets: words(ebpf, maps::ENDPOINT_SETS, abi::ENDPOINT_SLOTS)?,
            uses: take(ebpf, maps::ENDPOINT_USE)?,
            control: words(ebpf, maps::CONTROL, 1)?,
            sources: take(ebpf, maps::SOURCES)?,
            frontends4: take(ebpf, maps::FRONTENDS4)?,
            frontends6: take(ebpf, maps::FRONTENDS6)?,
            peers4: take(ebpf, maps::PEERS4)?,
            peers6: take(ebpf, maps::PEERS6)?,
            networks4: take(ebpf, maps::NETWORKS4)?,
            networks6: take(ebpf, maps::NETWORKS6)?,
            verdicts: take(ebpf, maps::VERDICTS)?,
            ports: take(ebpf, maps::PORTS)?,
            denials4: tables.another()?,
            denials6: tables.another()?,
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
                if let Entry::Vacant(place) = dump.ports.entry(index) {
                    place.insert(self.port_range(index)?);
                }
            }
        }
        Ok(())
    }

    fn epoch(&self) -> Result<u32, KernelError> {
        let word = self.control.load(0).ok_or_else(|| outside(maps::CONTROL))?;
        Ok(sys::from_bytes::<abi::Control>(&word.to_ne_bytes())
            .unwrap_or_default()
            .epoch)
    }

    fn sets_of(&self, slot: u32) -> Result<abi::EndpointSets, KernelError> {
        let word = self
            .sets
            .load(slot)
            .ok_or_else(|| outside(maps::ENDPOINT_SETS))?;
        Ok(sys::from_bytes(&word.to_ne_bytes()).unwrap_or_default())
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
            MapWrite::Sets(slot, sets) => store(&self.sets, slot, &sets),
            MapWrite::Use(slot, counts) => self.uses.set(slot, counts, 0),
            MapWrite::Source(key, Present::Yes) => put(&mut self.sources, &key, Some(1)),
            MapWrite::Source(key, Present::No) => put(&mut self.sources, &key, None),
            MapWrite::Epoch(epoch) => store(&self.control, 0, &abi::Control { epoch, reserved: 0 }),
            MapWrite::Overflow(entry, present) => self.write_overflow(&entry, present),
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
            MapWrite::Overflow(entry, _) => {
                let denial = match entry.family {
                    Family::V4 => self.denials4.get(&entry.key4(), 0),
                    Family::V6 => self.denials6.get(&entry.key6(), 0),
                };
                MapWrite::Overflow(entry, presence(there(denial).map_err(reading)?.is_some()))
            }
        };
        Ok(inverse)
    }

    fn capacity(&self, map: &'static str) -> u32 {
        self.capacities.get(map).copied().unwrap_or(0)
    }
}

impl PolicyMaps {
    fn write_overflow(&mut self, overflow: &Overflow, present: Present) -> Result<(), MapError> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_err(|errno| MapError::IoError(errno.into()))?;
        let entry = overflow.entry(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64);
        match (overflow.family, present) {
            (Family::V4, Present::Yes) => add(&mut self.denials4, &overflow.key4(), entry),
            (Family::V6, Present::Yes) => add(&mut self.denials6, &overflow.key6(), entry),
            (Family::V4, Present::No) => put(&mut self.denials4, &overflow.key4(), None),
            (Family::V6, Present::No) => put(&mut self.denials6, &overflow.key6(), None),
        }
    }
}

/// The memory of an array of 8-byte values.
fn words(ebpf: &mut Ebpf, name: &'static str, entries: u32) -> Result<MappedWords, KernelError> {
    let map = ebpf.take_map(name);
    let Some(aya::maps::Map::Array(data)) = map else {
        return Err(KernelError::Missing {
            what: "array map",
            name: name.to_owned(),
        });
    };
    MappedWords::new(data.fd().as_fd(), entries).map_err(|source| io_error("mapping", name, source))
}

fn store<V: Pod>(words: &MappedWords, index: u32, value: &V) -> Result<(), MapError> {
    const { assert!(size_of::<V>() == size_of::<u64>()) };
    let word = sys::from_bytes::<u64>(sys::as_bytes(value)).unwrap_or_default();
    let max_entries = index;
    if words.store(index, word) {
        Ok(())
    } else {
        Err(MapError::OutOfBounds { index, max_entries })
    }
}

fn outside(map: &'static str) -> KernelError {
    io_error("reading", map, io::Error::from(io::ErrorKind::InvalidInput))
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

/// Enters an entry if there is none: one that is there may have counted already.
fn add<K: Pod>(
    map: &mut Hash<K, abi::Denial>,
    key: &K,
    entry: abi::Denial,
) -> Result<(), MapError> {
    const BPF_NOEXIST: u64 = 1;
    match map.insert(key, entry, BPF_NOEXIST) {
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
