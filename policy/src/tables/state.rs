//! The complete compiled state of one node, and what a single write does to it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::{EndpointSets, Frontend, IdentityId, Networks, Peer, PortTable, SetId, Write};
use crate::model::Name;

/// Everything the kernel looks up on one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Number of this state.
    pub revision: u64,
    /// Exact addresses.
    pub peers: HashMap<IpAddr, Peer, RandomState>,
    /// CIDRs of policies, for addresses that `peers` does not have.
    pub networks: Networks<Peer>,
    /// Service front ends; looked up before `peers`, from the pod only.
    pub frontends: HashMap<Frontend, IdentityId, RandomState>,
    /// What each set says about each identity.
    pub verdicts: HashMap<SetId, HashMap<IdentityId, PortTable, RandomState>, RandomState>,
    /// The sets of each endpoint of this node.
    pub endpoints: BTreeMap<Name, EndpointSets>,
}

impl Tables {
    /// Does one write.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Peer(address, peer) => drop(self.peers.insert(*address, *peer)),
            Write::RemovePeer(address) => drop(self.peers.remove(address)),
            Write::Network(cidr, peer) => drop(self.networks.insert(*cidr, *peer)),
            Write::RemoveNetwork(cidr) => drop(self.networks.remove(cidr)),
            Write::Frontend(frontend, identity) => {
                self.frontends.insert(*frontend, *identity);
            }
            Write::RemoveFrontend(frontend) => drop(self.frontends.remove(frontend)),
            Write::Verdict(set, identity, table) => {
                let tables = self.verdicts.entry(*set).or_default();
                tables.insert(*identity, table.clone());
            }
            Write::RemoveVerdict(set, identity) => self.remove_verdict(*set, *identity),
            Write::Endpoint(name, sets) => drop(self.endpoints.insert(name.clone(), *sets)),
            Write::RemoveEndpoint(name) => drop(self.endpoints.remove(name)),
        }
    }

    /// The port table of a set for an identity; `None` = default deny.
    pub fn table(&self, set: SetId, identity: IdentityId) -> Option<&PortTable> {
        self.verdicts.get(&set)?.get(&identity)
    }

    /// How many (set, identity) entries there are.
    pub fn verdict_count(&self) -> usize {
        self.verdicts.values().map(HashMap::len).sum()
    }

    fn remove_verdict(&mut self, set: SetId, identity: IdentityId) {
        if let Some(tables) = self.verdicts.get_mut(&set) {
            tables.remove(&identity);
            if tables.is_empty() {
                self.verdicts.remove(&set);
            }
        }
    }
}
