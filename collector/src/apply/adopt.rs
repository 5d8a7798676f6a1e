//! What an earlier run left in the maps, as the state that the next update starts from.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use weir_datapath::abi;
use weir_policy::model::Name;
use weir_policy::tables::{EndpointSets, Frontend, IdentityId, Peer, PortTable, SetId};

use super::{Applier, convert};
use crate::kernel::{Dump, MapWriter};

/// The adopted maps in the compiler's terms.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    /// Address → class.
    pub peers: HashMap<IpAddr, Peer>,
    /// CIDR → class.
    pub networks: HashMap<IpNet, Peer>,
    /// Service front end → class.
    pub frontends: HashMap<Frontend, IdentityId>,
    /// (set, identity) → port table.
    pub verdicts: HashMap<(SetId, IdentityId), PortTable>,
    /// The two sets in force at a pod.
    pub endpoints: HashMap<Name, EndpointSets>,
}

impl<W: MapWriter> Applier<W> {
    /// An owner of maps that hold something already. Writes nothing.
    ///
    /// `pods`: the pods that the state directory names for slots.
    pub fn adopt(writer: W, dump: &Dump, pods: &BTreeMap<u32, Name>) -> (Self, Adopted) {
        let mut applier = Self::new(writer);
        applier.epoch = dump.epoch;
        let mut adopted = Adopted::default();
        for (address, peer) in &dump.peers {
            adopted.peers.insert(*address, convert::peer_back(*peer));
            let map = if address.is_ipv4() {
                abi::maps::PEERS4
            } else {
                abi::maps::PEERS6
            };
            applier.book(std::iter::once((map, 1)));
        }
        for (network, peer) in &dump.networks {
            adopted.networks.insert(*network, convert::peer_back(*peer));
            let map = if matches!(network, IpNet::V4(_)) {
                abi::maps::NETWORKS4
            } else {
                abi::maps::NETWORKS6
            };
            applier.book(std::iter::once((map, 1)));
        }
        for (key, identity) in &dump.frontends {
            let map = if key.address.is_ipv4() {
                abi::maps::FRONTENDS4
            } else {
                abi::maps::FRONTENDS6
            };
            applier.book(std::iter::once((map, 1)));
            if let Some(frontend) = convert::frontend_back(*key) {
                adopted.frontends.insert(frontend, IdentityId(*identity));
            }
        }
        for (key, table) in &dump.verdicts {
            let ranges = ranges(dump, *table);
            applier.book(std::iter::once((abi::maps::VERDICTS, 1)));
            applier.verdicts.insert(*key, *table);
            if table.count > 0 {
                applier.arena.adopt(table.first, Arc::clone(&ranges));
            }
            let key = (SetId(key.set), IdentityId(key.identity));
            adopted
                .verdicts
                .insert(key, convert::table_back(*table, &ranges));
        }
        for (slot, _, sets) in &dump.endpoints {
            // A pending one has no sets of the compiler's: the first update brings them.
            if let Some(pod) = pods.get(slot)
                && let Some(sets) = convert::sets_back(*sets)
            {
                applier.slots.insert(pod.clone(), *slot);
                applier.sets.insert(pod.clone(), sets);
                adopted.endpoints.insert(pod.clone(), sets);
            }
        }
        (applier, adopted)
    }
}

fn ranges(dump: &Dump, table: abi::PortTable) -> Arc<[abi::PortRange]> {
    let indices = table.first..table.first.saturating_add(table.count);
    indices
        .filter_map(|index| dump.ports.get(&index).copied())
        .collect()
}
