//! What an earlier run left in the maps, as the state that the next update starts from.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_datapath::abi;
use weir_policy::model::Name;
use weir_policy::tables::{IdentityId, SetId, Tables, Write};

use super::{Applier, convert};
use crate::kernel::{Dump, MapWrite, MapWriter};

impl<W: MapWriter> Applier<W> {
    /// An owner of maps that hold something already, and what they hold in the compiler's terms. Writes nothing.
    ///
    /// `pods`: the pods that the state directory names for slots.
    pub fn adopt(writer: W, dump: &Dump, pods: &BTreeMap<u32, Name>) -> (Self, Tables) {
        let mut applier = Self::new(writer);
        applier.epoch = dump.epoch;
        let mut tables = Tables::default();
        for (address, peer) in &dump.peers {
            applier.count(&MapWrite::Peer(*address, None));
            tables.apply(&Write::Peer(*address, convert::peer_back(*peer)));
        }
        for (network, peer) in &dump.networks {
            applier.count(&MapWrite::Network(*network, None));
            tables.apply(&Write::Network(*network, convert::peer_back(*peer)));
        }
        for (key, identity) in &dump.frontends {
            applier.count(&MapWrite::Frontend(*key, None));
            if let Some(frontend) = convert::frontend_back(*key) {
                tables.apply(&Write::Frontend(frontend, IdentityId(*identity)));
            }
        }
        for (key, table) in &dump.verdicts {
            let ranges = ranges(dump, *table);
            applier.count(&MapWrite::Verdict(*key, None));
            applier.verdicts.insert(*key, *table);
            if table.count > 0 {
                applier.arena.adopt(table.first, Arc::clone(&ranges));
            }
            let table = convert::table_back(*table, &ranges);
            tables.apply(&Write::Verdict(
                SetId(key.set),
                IdentityId(key.identity),
                table,
            ));
        }
        for (slot, _, sets) in &dump.endpoints {
            // A pending one has no sets of the compiler's: the first update brings them.
            if let Some(pod) = pods.get(slot)
                && let Some(sets) = convert::sets_back(*sets)
            {
                applier.slots.insert(pod.clone(), *slot);
                applier.sets.insert(pod.clone(), sets);
                tables.apply(&Write::Endpoint(pod.clone(), sets));
            }
        }
        (applier, tables)
    }

    fn count(&mut self, entry: &MapWrite) {
        self.book(std::iter::once((entry.map(), 1)));
    }
}

fn ranges(dump: &Dump, table: abi::PortTable) -> Arc<[abi::PortRange]> {
    let indices = table.first..table.first.saturating_add(table.count);
    indices
        .filter_map(|index| dump.ports.get(&index).copied())
        .collect()
}
