//! Brings compiled policy into the kernel: every map write in the design's order, each through one [`MapWriter`].
//!
//! An update is planned whole before its first write, so that a map without room refuses it with nothing changed. Its
//! writes then go in order: identities prepared in live sets, addresses, new sets, endpoints switched, epoch bumped.
//! Stopped after any one of them, every verdict is the old or the new one. What nothing refers to any more goes after a
//! grace time, and before the next update: the compiler takes it as gone.

mod adopt;
mod arena;
mod convert;
mod endpoint;
mod journal;
mod plan;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, warn};
use weir_datapath::abi;
use weir_policy::model::Name;
use weir_policy::tables::{EndpointSets, Update, Write};

use crate::kernel::{KernelError, MapWrite, MapWriter};
use arena::Arena;
use plan::{EntryKey, Plan};

pub use endpoint::{EndpointSpec, Programmed};
pub use journal::{Journal, Restored};

/// How long what was replaced stays in the maps: programs that looked it up run for microseconds, without preemption.
pub const GRACE: Duration = Duration::from_millis(20);

/// Why an update is not in force. The old state is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A map has no room for it. Nothing was written.
    #[error(
        "policy needs {needed} entries in map {map}, which holds {capacity}: the last policy stays in force"
    )]
    Full {
        /// Its name.
        map: &'static str,
        /// Entries after the update.
        needed: u64,
        /// Entries it can hold.
        capacity: u64,
    },
    /// A port table is empty, or longer than the programs can search.
    #[error(
        "a port table of {ranges} ranges: 1 to 65536 are possible; the last policy stays in force"
    )]
    PortTable {
        /// Its length.
        ranges: usize,
    },
    /// The kernel refused a write. What had been written was undone.
    #[error("policy not applied, the last one stays in force: {0}")]
    Kernel(#[from] KernelError),
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The policy epoch from now on.
    pub epoch: u32,
    /// How many map writes it took.
    pub writes: usize,
}

/// The owner of the policy maps' contents.
pub struct Applier<W> {
    writer: W,
    arena: Arena,
    verdicts: HashMap<abi::VerdictKey, abi::PortTable>,
    entries: BTreeMap<&'static str, u32>,
    epoch: u32,
    /// What the compiled policy says about pods of this node, whether or not their interfaces are known.
    sets: HashMap<Name, EndpointSets>,
    /// The slots of pods whose interfaces are known.
    slots: HashMap<Name, u32>,
    /// Entries to be removed, and from when.
    removals: VecDeque<(Instant, EntryKey)>,
    /// Port tables to be freed, and from when.
    freed: VecDeque<(Instant, u32)>,
}

impl<W: MapWriter> Applier<W> {
    /// An owner of empty maps.
    pub fn new(writer: W) -> Self {
        let arena = Arena::new(writer.capacity(abi::maps::PORTS));
        Self {
            writer,
            arena,
            verdicts: HashMap::new(),
            entries: BTreeMap::new(),
            epoch: 0,
            sets: HashMap::new(),
            slots: HashMap::new(),
            removals: VecDeque::new(),
            freed: VecDeque::new(),
        }
    }

    /// The present policy epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The epoch that [`Applier::apply`] will bring into force next.
    pub fn next_epoch(&self) -> u32 {
        self.epoch.wrapping_add(1)
    }

    /// Entries in a policy map, by name; of the port arena, its ranges in use.
    pub fn entries(&self, map: &str) -> u32 {
        match map {
            abi::maps::PORTS => self.arena.used(),
            _ => self.entries.get(map).copied().unwrap_or(0),
        }
    }

    /// The writer, for what is not policy.
    pub fn writer(&self) -> &W {
        &self.writer
    }

    /// The writer, for what is not policy.
    pub fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Gives the writer back.
    pub fn into_writer(self) -> W {
        self.writer
    }

    /// Brings an update into force, its cleanup excepted: see [`Applier::clean_up`]. Names of what it holds must be on
    /// disk already. Waits for the grace time of the update before, if that was a moment ago.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; the last state stays in force.
    pub fn apply(&mut self, update: &Update) -> Result<Applied, ApplyError> {
        self.clean_up_by(self.removals.back().map(|(due, _)| *due))?;
        let plan = match Plan::of(self, update) {
            Err(ApplyError::Full {
                map: abi::maps::PORTS,
                ..
            }) if !self.freed.is_empty() => {
                self.clean_up_by(self.freed.back().map(|(due, _)| *due))?;
                Plan::of(self, update)?
            }
            planned => planned?,
        };
        if let Err(error) = self.write_all(&plan) {
            plan.abandon(&mut self.arena);
            return Err(error.into());
        }
        self.book(plan.gained.iter().map(|(map, gained)| (*map, *gained)));
        for (key, table) in &plan.verdicts {
            match table {
                Some(table) => _ = self.verdicts.insert(*key, *table),
                None => _ = self.verdicts.remove(key),
            }
        }
        let due = Instant::now() + GRACE;
        self.release(&plan.released, due);
        self.book_endpoints(&update.switch);
        self.queue_cleanup(&update.cleanup, due);
        Ok(Applied {
            epoch: self.epoch,
            writes: plan.writes.len(),
        })
    }

    /// Waits for a grace time to end, and cleans up.
    fn clean_up_by(&mut self, due: Option<Instant>) -> Result<(), KernelError> {
        if let Some(due) = due {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.clean_up(Instant::now()).map(|_| ())
    }

    /// All writes and the new epoch, or none.
    fn write_all(&mut self, plan: &Plan) -> Result<(), KernelError> {
        for (done, write) in plan.writes.iter().enumerate() {
            if let Err(error) = self.writer.write(write) {
                self.undo(&plan.inverses[..done]);
                return Err(error);
            }
        }
        if plan.writes.is_empty() {
            return Ok(());
        }
        let epoch = self.next_epoch();
        if let Err(error) = self.writer.write(&MapWrite::Epoch(epoch)) {
            self.undo(&plan.inverses);
            return Err(error);
        }
        self.epoch = epoch;
        Ok(())
    }

    fn undo(&mut self, inverses: &[MapWrite]) {
        for inverse in inverses.iter().rev() {
            if let Err(error) = self.writer.write(inverse) {
                error!(%error, "cannot undo a map write; verdicts are the old or the new ones until the next update");
                return;
            }
        }
    }

    fn book(&mut self, gained: impl Iterator<Item = (&'static str, i64)>) {
        for (map, gained) in gained {
            let entries = self.entries.entry(map).or_default();
            *entries = (i64::from(*entries) + gained).max(0) as u32;
        }
    }

    fn book_endpoints(&mut self, switch: &[Write]) {
        for write in switch {
            if let Write::Endpoint(name, sets) = write {
                self.sets.insert(name.clone(), *sets);
            }
        }
    }

    fn release(&mut self, tables: &[u32], due: Instant) {
        for &first in tables {
            if self.arena.release(first) {
                self.freed.push_back((due, first));
            }
        }
    }

    fn queue_cleanup(&mut self, cleanup: &[Write], due: Instant) {
        for write in cleanup {
            let key = match write {
                Write::RemovePeer(address) => EntryKey::Peer(*address),
                Write::RemoveNetwork(network) => EntryKey::Network(network.trunc()),
                Write::RemoveFrontend(frontend) => EntryKey::Frontend(convert::frontend(frontend)),
                Write::RemoveVerdict(set, identity) => {
                    EntryKey::Verdict(convert::verdict_key(*set, *identity))
                }
                Write::RemoveEndpoint(name) => {
                    self.sets.remove(name);
                    continue;
                }
                other => {
                    warn!(
                        ?other,
                        "a write that is no removal in the cleanup stage was left out"
                    );
                    continue;
                }
            };
            self.removals.push_back((due, key));
        }
    }

    /// When [`Applier::clean_up`] has something to do next.
    pub fn next_cleanup(&self) -> Option<Instant> {
        let removal = self.removals.front().map(|(due, _)| *due);
        let freed = self.freed.front().map(|(due, _)| *due);
        removal.into_iter().chain(freed).min()
    }

    /// Removes what nothing has referred to for the grace time. To be called again after an error.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`]; what is left stays queued.
    pub fn clean_up(&mut self, now: Instant) -> Result<usize, KernelError> {
        let mut removed = 0;
        while let Some((_, key)) = self
            .removals
            .front()
            .filter(|(due, _)| *due <= now)
            .copied()
        {
            self.remove(key, now + GRACE)?;
            self.removals.pop_front();
            removed += 1;
        }
        while let Some((_, first)) = self.freed.pop_front_if(|(due, _)| *due <= now) {
            self.arena.free(first);
        }
        Ok(removed)
    }

    fn remove(&mut self, key: EntryKey, due: Instant) -> Result<(), KernelError> {
        let removal = key.removal();
        let was_there = self.writer.inverse(&removal)? != removal;
        self.writer.write(&removal)?;
        if was_there {
            self.book(std::iter::once((removal.map(), -1)));
        }
        if let EntryKey::Verdict(key) = key
            && let Some(table) = self.verdicts.remove(&key)
            && table.count > 0
        {
            self.release(&[table.first], due);
        }
        Ok(())
    }
}
