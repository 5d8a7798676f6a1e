//! A copy of Weir's programs with maps of its own, sized as deployed, and what is read from them between rounds.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, RingBuf};
use aya::programs::{ProgramFd, SchedClassifier};
use aya::{Ebpf, EbpfLoader, Pod};
use weir_datapath::abi::*;

use super::frames::{ALLOWED, POD, peer};

/// The loopback device of this network namespace: what `BPF_PROG_TEST_RUN` says a packet came by.
pub(super) const IFINDEX: u32 = 1;
const ENDPOINT: u32 = 9;
const INGRESS: u32 = set::FIRST;
const EGRESS: u32 = set::FIRST + 1;
const EPOCH: u32 = 3;

/// The cluster: pods, label sets, and port ranges that each pair of policy set and label set allows.
const PEERS: u16 = 10_000;
const IDENTITIES: u32 = 500;
const RANGES: u16 = 50;

/// Table sizes, as the collector's.
const SIZES: &[(&str, u32)] = &[
    (maps::FLOWS4, 131_072),
    (maps::FLOWS6, 131_072),
    (maps::DENIALS4, 16_384),
    (maps::DENIALS6, 16_384),
    (maps::PEERS4, 262_144),
    (maps::PEERS6, 262_144),
    (maps::FLOW_EVENTS, 1 << 20),
    (maps::DENIAL_EVENTS, 1 << 19),
];

/// Programs and maps.
pub(super) struct Weir {
    ebpf: Ebpf,
    flow_events: RingBuf<MapData>,
    denial_events: RingBuf<MapData>,
}

/// What the tables hold and the rings carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) flows: u64,
    pub(super) flow_packets: u64,
    pub(super) flow_events: u64,
    pub(super) denials: u64,
    pub(super) denied_packets: u64,
    pub(super) denial_events: u64,
}

impl Weir {
    /// Loads the programs, and one isolated endpoint in a cluster of [`PEERS`] pods.
    pub(super) fn load(object: &[u8]) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        for (name, entries) in SIZES {
            loader.map_max_entries(name, *entries);
        }
        let mut ebpf = loader.load(object).context("loading weir.o")?;
        for name in [programs::FROM_POD, programs::TO_POD] {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .with_context(|| format!("weir.o has no program {name}"))?
                .try_into()?;
            program.load().with_context(|| format!("loading {name}"))?;
        }
        let mut ring = |name| -> Result<RingBuf<MapData>> {
            let map = ebpf.take_map(name);
            Ok(map.with_context(|| no_map(name))?.try_into()?)
        };
        let (flow_events, denial_events) = (ring(maps::FLOW_EVENTS)?, ring(maps::DENIAL_EVENTS)?);
        let mut weir = Self {
            ebpf,
            flow_events,
            denial_events,
        };
        weir.write_endpoint()?;
        weir.write_cluster()?;
        weir.write_policies()?;
        Ok(weir)
    }

    /// The program that sees packets in this direction.
    pub(super) fn program(&self, direction: Direction) -> Result<&SchedClassifier> {
        let name = match direction {
            Direction::Egress => programs::FROM_POD,
            Direction::Ingress => programs::TO_POD,
        };
        let program = self.ebpf.program(name);
        Ok(program.with_context(|| format!("no {name}"))?.try_into()?)
    }

    /// A descriptor of the same.
    pub(super) fn fd(&self, direction: Direction) -> Result<&ProgramFd> {
        Ok(self.program(direction)?.fd()?)
    }

    /// What the tables hold, and what the rings carried since the last call.
    pub(super) fn contents(&mut self) -> Result<Contents> {
        let mut contents = Contents {
            flow_events: drain(&mut self.flow_events),
            denial_events: drain(&mut self.denial_events),
            ..Contents::default()
        };
        self.add_flows::<FlowKey4>(maps::FLOWS4, &mut contents)?;
        self.add_flows::<FlowKey6>(maps::FLOWS6, &mut contents)?;
        self.add_denials::<DenialKey4>(maps::DENIALS4, &mut contents)?;
        self.add_denials::<DenialKey6>(maps::DENIALS6, &mut contents)?;
        Ok(contents)
    }

    fn add_flows<K: Pod>(&mut self, name: &str, contents: &mut Contents) -> Result<()> {
        for entry in self.hash::<K, Flow>(name)?.iter() {
            let (_, flow) = entry?;
            contents.flows += 1;
            contents.flow_packets += flow.egress.packets + flow.ingress.packets;
        }
        Ok(())
    }

    fn add_denials<K: Pod>(&mut self, name: &str, contents: &mut Contents) -> Result<()> {
        for entry in self.hash::<K, Denial>(name)?.iter() {
            let (_, denial) = entry?;
            contents.denials += 1;
            contents.denied_packets += denial.dropped.packets;
        }
        Ok(())
    }

    /// Takes all flows and denials out, and reads the rings empty.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.remove_all::<FlowKey4, Flow>(maps::FLOWS4)?;
        self.remove_all::<FlowKey6, Flow>(maps::FLOWS6)?;
        self.remove_all::<DenialKey4, Denial>(maps::DENIALS4)?;
        self.remove_all::<DenialKey6, Denial>(maps::DENIALS6)?;
        self.array::<EndpointUse>(maps::ENDPOINT_USE)?
            .set(slot(), EndpointUse::default(), 0)?;
        drain(&mut self.flow_events);
        drain(&mut self.denial_events);
        Ok(())
    }

    fn remove_all<K: Pod, V: Pod>(&mut self, name: &str) -> Result<()> {
        let mut map = self.hash::<K, V>(name)?;
        let keys = map.keys().collect::<Result<Vec<K>, _>>()?;
        for key in keys {
            map.remove(&key)?;
        }
        Ok(())
    }

    fn write_endpoint(&mut self) -> Result<()> {
        let endpoint = Endpoint {
            ifindex: IFINDEX,
            id: ENDPOINT,
            flags: endpoint_flag::CHECK_SOURCE,
            ipv4: number(POD.0),
            ipv6: POD.1.octets(),
            nascent_quota: 1 << 20,
            flow_quota: 1 << 20,
            ..Endpoint::default()
        };
        self.array(maps::ENDPOINTS)?.set(slot(), endpoint, 0)?;
        let sets = EndpointSets {
            ingress: INGRESS,
            egress: EGRESS,
        };
        self.array(maps::ENDPOINT_SETS)?.set(slot(), sets, 0)?;
        let control = Control {
            epoch: EPOCH,
            reserved: 0,
        };
        Ok(self.array(maps::CONTROL)?.set(0, control, 0)?)
    }

    /// Pods with their identities, and the CIDRs of a hundred policies beside them.
    fn write_cluster(&mut self) -> Result<()> {
        for index in 0..PEERS {
            let address = peer(index);
            let identity = Peer {
                identity: identity_of(index),
                flags: 0,
            };
            self.hash::<u32, Peer>(maps::PEERS4)?
                .insert(number(address.0), identity, 0)?;
            self.hash::<[u8; 16], Peer>(maps::PEERS6)?
                .insert(address.1.octets(), identity, 0)?;
        }
        for index in 0..100_u8 {
            let identity = Peer {
                identity: identity::FIRST + IDENTITIES + u32::from(index),
                flags: 0,
            };
            let v4 = Key::new(24, Ipv4Addr::new(172, 16, index, 0).octets());
            let mut map: LpmTrie<_, [u8; 4], Peer> = self.map(maps::NETWORKS4)?.try_into()?;
            map.insert(&v4, identity, 0)?;
            let network = Ipv6Addr::new(0xfd02, u16::from(index), 0, 0, 0, 0, 0, 0);
            let mut map: LpmTrie<_, [u8; 16], Peer> = self.map(maps::NETWORKS6)?.try_into()?;
            map.insert(&Key::new(64, network.octets()), identity, 0)?;
        }
        Ok(())
    }

    /// What both sets allow every identity: [`RANGES`] ranges of TCP and as many of UDP, [`ALLOWED`] in the middle.
    fn write_policies(&mut self) -> Result<()> {
        let mut next = 0;
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            for index in 0..RANGES {
                let low = ALLOWED - RANGES / 2 * 100 + index * 100;
                let range = PortRange {
                    low: protocol_port(protocol, low),
                    high: protocol_port(protocol, low + 9),
                    rule: rule::FIRST + next,
                    reserved: 0,
                };
                self.array(maps::PORTS)?.set(next, range, 0)?;
                next += 1;
            }
        }
        let table = PortTable {
            first: 0,
            count: next,
        };
        for set in [INGRESS, EGRESS] {
            for identity in identity::FIRST..identity::FIRST + IDENTITIES {
                self.hash(maps::VERDICTS)?
                    .insert(VerdictKey { set, identity }, table, 0)?;
            }
        }
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| no_map(name))
    }

    fn array<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        Ok(self.map(name)?.try_into()?)
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        Ok(self.map(name)?.try_into()?)
    }
}

impl Contents {
    /// # Errors
    ///
    /// If this is not what there must be.
    pub(super) fn must_be(self, expected: Self, line: &str) -> Result<()> {
        ensure!(
            self == expected,
            "{line}: the programs did something else than was to be measured: {self:?}, not {expected:?}"
        );
        Ok(())
    }
}

fn slot() -> u32 {
    IFINDEX % ENDPOINT_SLOTS
}

fn identity_of(index: u16) -> u32 {
    identity::FIRST + u32::from(index) % IDENTITIES
}

/// An address as the maps hold it.
fn number(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

fn drain(ring: &mut RingBuf<MapData>) -> u64 {
    std::iter::from_fn(|| ring.next().map(drop)).count() as u64
}

fn no_map(name: &str) -> String {
    format!("the object has no map {name}")
}
