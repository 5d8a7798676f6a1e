//! An update as map writes, with everything known before the first of them: what each would undo to, and whether
//! every map has room.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use weir_datapath::abi;
use weir_policy::tables::{PortTable, Update, Write};

use super::arena::{Arena, ArenaFull, Placed};
use super::{Applier, ApplyError, convert};
use crate::kernel::{FrontendKey, KernelError, MapWrite, MapWriter};

/// Which entry a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EntryKey {
    Peer(IpAddr),
    Network(IpNet),
    Frontend(FrontendKey),
    Verdict(abi::VerdictKey),
}

impl EntryKey {
    /// Only for maps whose entries come and go with the policy.
    pub(super) fn of(write: &MapWrite) -> Option<Self> {
        match *write {
            MapWrite::Peer(address, _) => Some(Self::Peer(address)),
            MapWrite::Network(network, _) => Some(Self::Network(network)),
            MapWrite::Frontend(key, _) => Some(Self::Frontend(key)),
            MapWrite::Verdict(key, _) => Some(Self::Verdict(key)),
            _ => None,
        }
    }

    /// The write that removes the entry.
    pub(super) fn removal(self) -> MapWrite {
        match self {
            Self::Peer(address) => MapWrite::Peer(address, None),
            Self::Network(network) => MapWrite::Network(network, None),
            Self::Frontend(key) => MapWrite::Frontend(key, None),
            Self::Verdict(key) => MapWrite::Verdict(key, None),
        }
    }
}

/// Map writes in order, and what they mean for the books.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Up to the switch of the endpoints, that included.
    pub(super) writes: Vec<MapWrite>,
    /// What restores the present state, in the order of `writes`.
    pub(super) inverses: Vec<MapWrite>,
    /// Port tables that got a reference.
    pub(super) acquired: Vec<u32>,
    /// Port tables that lose one.
    pub(super) released: Vec<u32>,
    /// The verdict entries after the plan.
    pub(super) verdicts: HashMap<abi::VerdictKey, Option<abi::PortTable>>,
    /// Whether an entry exists after the plan.
    present: HashMap<EntryKey, bool>,
    /// Entries gained per map.
    pub(super) gained: BTreeMap<&'static str, i64>,
}

/// Whether a write leaves an entry behind.
fn leaves_entry(write: &MapWrite) -> bool {
    match write {
        MapWrite::Peer(_, peer) | MapWrite::Network(_, peer) => peer.is_some(),
        MapWrite::Frontend(_, identity) => identity.is_some(),
        MapWrite::Verdict(_, table) => table.is_some(),
        _ => true,
    }
}

impl Plan {
    /// Plans everything of an update but its cleanup. On error the arena is as before.
    pub(super) fn of<W: MapWriter>(
        applier: &mut Applier<W>,
        update: &Update,
    ) -> Result<Self, ApplyError> {
        let mut plan = Self::default();
        let result = plan.fill(applier, update);
        if let Err(error) = result {
            plan.abandon(&mut applier.arena);
            return Err(error);
        }
        Ok(plan)
    }

    fn fill<W: MapWriter>(
        &mut self,
        applier: &mut Applier<W>,
        update: &Update,
    ) -> Result<(), ApplyError> {
        for stage in [
            &update.prepare,
            &update.addresses,
            &update.sets,
            &update.switch,
        ] {
            for write in stage {
                self.add(applier, write)?;
            }
        }
        for (map, gained) in &self.gained {
            let needed = i64::from(applier.entries(map)) + gained;
            let capacity = applier.writer.capacity(map);
            if *gained > 0 && needed > i64::from(capacity) {
                return Err(ApplyError::Full {
                    map,
                    needed: needed as u64,
                    capacity: u64::from(capacity),
                });
            }
        }
        Ok(())
    }

    /// Plans one write of an update.
    pub(super) fn add<W: MapWriter>(
        &mut self,
        applier: &mut Applier<W>,
        write: &Write,
    ) -> Result<(), ApplyError> {
        let write = match write {
            Write::Peer(address, peer) => MapWrite::Peer(*address, Some(convert::peer(peer))),
            Write::RemovePeer(address) => MapWrite::Peer(*address, None),
            Write::Network(network, peer) => {
                MapWrite::Network(network.trunc(), Some(convert::peer(peer)))
            }
            Write::RemoveNetwork(network) => MapWrite::Network(network.trunc(), None),
            Write::Frontend(frontend, identity) => {
                MapWrite::Frontend(convert::frontend(frontend), Some(identity.0))
            }
            Write::RemoveFrontend(frontend) => {
                MapWrite::Frontend(convert::frontend(frontend), None)
            }
            Write::Verdict(set, identity, table) => {
                return self.add_verdict(applier, convert::verdict_key(*set, *identity), table);
            }
            Write::RemoveVerdict(set, identity) => {
                let key = convert::verdict_key(*set, *identity);
                self.replace_table(applier, key, None);
                MapWrite::Verdict(key, None)
            }
            Write::Endpoint(name, sets) => match applier.slots.get(name) {
                Some(slot) => MapWrite::Sets(*slot, convert::sets(*sets)),
                None => return Ok(()),
            },
            Write::RemoveEndpoint(_) => return Ok(()),
        };
        Ok(self.push(&applier.writer, write)?)
    }

    fn add_verdict<W: MapWriter>(
        &mut self,
        applier: &mut Applier<W>,
        key: abi::VerdictKey,
        table: &PortTable,
    ) -> Result<(), ApplyError> {
        let entry = match table {
            PortTable::All(rule) => abi::PortTable {
                first: rule.0,
                count: 0,
            },
            PortTable::Ranges(ranges) => {
                let ranges: Vec<_> = ranges.iter().map(convert::range).collect();
                self.place(applier, &ranges)?
            }
        };
        self.replace_table(applier, key, Some(entry));
        Ok(self.push(&applier.writer, MapWrite::Verdict(key, Some(entry)))?)
    }

    /// Finds a place for a port table, and plans to write it before anything refers to it.
    fn place<W: MapWriter>(
        &mut self,
        applier: &mut Applier<W>,
        ranges: &[abi::PortRange],
    ) -> Result<abi::PortTable, ApplyError> {
        if ranges.is_empty() || ranges.len() > abi::MAX_PORT_RANGES as usize {
            return Err(ApplyError::PortTable {
                ranges: ranges.len(),
            });
        }
        let used = applier.arena.used();
        let placed = applier
            .arena
            .acquire(ranges)
            .map_err(|ArenaFull| ApplyError::Full {
                map: abi::maps::PORTS,
                needed: u64::from(used) + ranges.len() as u64,
                capacity: u64::from(applier.writer.capacity(abi::maps::PORTS)),
            })?;
        let (Placed::New(entry) | Placed::Shared(entry)) = placed;
        self.acquired.push(entry.first);
        if let Placed::New(_) = placed {
            for (index, range) in (entry.first..).zip(ranges) {
                self.push(&applier.writer, MapWrite::PortRange(index, *range))?;
            }
        }
        Ok(entry)
    }

    /// Books that a verdict entry gets another table, or none.
    fn replace_table<W>(
        &mut self,
        applier: &Applier<W>,
        key: abi::VerdictKey,
        entry: Option<abi::PortTable>,
    ) {
        let before = match self.verdicts.insert(key, entry) {
            Some(planned) => planned,
            None => applier.verdicts.get(&key).copied(),
        };
        if let Some(table) = before.filter(|table| table.count > 0) {
            self.released.push(table.first);
        }
    }

    fn push<W: MapWriter>(&mut self, writer: &W, write: MapWrite) -> Result<(), KernelError> {
        let inverse = writer.inverse(&write)?;
        if let Some(key) = EntryKey::of(&write) {
            let after = leaves_entry(&write);
            let before = self
                .present
                .insert(key, after)
                .unwrap_or_else(|| leaves_entry(&inverse));
            *self.gained.entry(write.map()).or_default() += i64::from(after) - i64::from(before);
        }
        self.inverses.push(inverse);
        self.writes.push(write);
        Ok(())
    }

    /// Gives back what was acquired; nothing refers to it.
    pub(super) fn abandon(&self, arena: &mut Arena) {
        for &first in &self.acquired {
            if arena.release(first) {
                arena.free(first);
            }
        }
    }
}
