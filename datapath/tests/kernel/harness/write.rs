//! What user space writes: endpoint, sets, epoch, identities, verdicts.

use std::net::IpAddr;

use aya::maps::LpmTrie;
use aya::maps::lpm_trie::Key;
use weir_datapath::abi::*;

use super::keys::{ipv4, ipv6};
use super::{EGRESS, ENDPOINT, INGRESS, Kernel, SLOT};

impl Kernel {
    /// Changes the endpoint's entry.
    pub(in super::super) fn change_endpoint(&mut self, change: impl FnOnce(&mut Endpoint)) {
        change(&mut self.endpoint);
        let endpoint = self.endpoint;
        self.array::<Endpoint>(maps::ENDPOINTS)
            .set(SLOT, endpoint, 0)
            .unwrap();
    }

    /// Switches the policy sets in force.
    pub(in super::super) fn set_sets(&mut self, ingress: u32, egress: u32) {
        let sets = EndpointSets { ingress, egress };
        self.array::<EndpointSets>(maps::ENDPOINT_SETS)
            .set(SLOT, sets, 0)
            .unwrap();
    }

    /// Isolates the pod in both directions, with sets that allow nothing yet.
    pub(in super::super) fn isolate(&mut self) {
        self.set_sets(INGRESS, EGRESS);
    }

    pub(in super::super) fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.array::<Control>(maps::CONTROL)
            .set(0, Control { epoch, reserved: 0 }, 0)
            .unwrap();
    }

    /// Bumps the policy epoch, as after every change.
    pub(in super::super) fn bump_epoch(&mut self) {
        self.set_epoch(self.epoch + 1);
    }

    /// The epoch in force.
    pub(in super::super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Enters an exact address.
    pub(in super::super) fn peer(&mut self, address: &str, identity: u32, flags: u32) {
        let peer = Peer { identity, flags };
        match address.parse().unwrap() {
            IpAddr::V4(_) => self
                .hash::<u32, Peer>(maps::PEERS4)
                .insert(ipv4(address), peer, 0)
                .unwrap(),
            IpAddr::V6(_) => self
                .hash::<[u8; 16], Peer>(maps::PEERS6)
                .insert(ipv6(address), peer, 0)
                .unwrap(),
        }
    }

    /// Enters a CIDR.
    pub(in super::super) fn network(&mut self, address: &str, length: u32, identity: u32) {
        let peer = Peer { identity, flags: 0 };
        match address.parse().unwrap() {
            IpAddr::V4(a) => {
                let mut map: LpmTrie<_, [u8; 4], Peer> =
                    self.map(maps::NETWORKS4).try_into().unwrap();
                map.insert(&Key::new(length, a.octets()), peer, 0).unwrap();
            }
            IpAddr::V6(a) => {
                let mut map: LpmTrie<_, [u8; 16], Peer> =
                    self.map(maps::NETWORKS6).try_into().unwrap();
                map.insert(&Key::new(length, a.octets()), peer, 0).unwrap();
            }
        }
    }

    /// Enters a further address that the pod may use.
    pub(in super::super) fn further_source(&mut self, address: &str) {
        let mut key = SourceKey {
            endpoint: ENDPOINT,
            ..SourceKey::default()
        };
        match address.parse().unwrap() {
            IpAddr::V4(a) => {
                key.family = 4;
                key.address[..4].copy_from_slice(&a.octets());
            }
            IpAddr::V6(a) => (key.family, key.address) = (6, a.octets()),
        }
        self.hash(maps::SOURCES).insert(key, 1_u32, 0).unwrap();
    }

    /// Enters a Service front end.
    pub(in super::super) fn frontend(
        &mut self,
        address: &str,
        protocol: u8,
        port: u16,
        identity: u32,
    ) {
        match address.parse().unwrap() {
            IpAddr::V4(_) => {
                let key = FrontendKey4 {
                    address: ipv4(address),
                    port,
                    protocol,
                    reserved: 0,
                };
                self.hash(maps::FRONTENDS4)
                    .insert(key, identity, 0)
                    .unwrap();
            }
            IpAddr::V6(_) => {
                let key = FrontendKey6 {
                    address: ipv6(address),
                    port,
                    protocol,
                    reserved: 0,
                };
                self.hash(maps::FRONTENDS6)
                    .insert(key, identity, 0)
                    .unwrap();
            }
        }
    }

    /// Allows every protocol and port between a set and an identity.
    pub(in super::super) fn allow_all(&mut self, set: u32, identity: u32, rule: u32) {
        let table = PortTable {
            first: rule,
            count: 0,
        };
        self.hash(maps::VERDICTS)
            .insert(VerdictKey { set, identity }, table, 0)
            .unwrap();
    }

    /// Enters a port table: `(protocol, from, to, rule)`, sorted.
    pub(in super::super) fn allow(
        &mut self,
        set: u32,
        identity: u32,
        ranges: &[(u8, u16, u16, u32)],
    ) {
        let first = self.ports_used;
        for (at, (protocol, low, high, rule)) in (first..).zip(ranges) {
            let range = PortRange {
                low: protocol_port(*protocol, *low),
                high: protocol_port(*protocol, *high),
                rule: *rule,
                reserved: 0,
            };
            self.array::<PortRange>(maps::PORTS)
                .set(at, range, 0)
                .unwrap();
        }
        let table = PortTable {
            first,
            count: ranges.len() as u32,
        };
        self.ports_used += table.count;
        self.hash(maps::VERDICTS)
            .insert(VerdictKey { set, identity }, table, 0)
            .unwrap();
    }

    /// Takes a verdict out.
    pub(in super::super) fn forbid(&mut self, set: u32, identity: u32) {
        self.hash::<VerdictKey, PortTable>(maps::VERDICTS)
            .remove(&VerdictKey { set, identity })
            .unwrap();
    }
}
