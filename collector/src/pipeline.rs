//! The hot path: one thread, one loop, one screen. Doorbells and table entries in, records out.
//!
//! Nothing wakes this thread but its own timer: waking a reader costs the kernel more than the whole program of a
//! packet does. An entry is deleted only after its last record is with all receivers, the spool file among them, so
//! that a crash at any point repeats a record and never loses one.

mod book;
mod entries;
mod ledger;
mod reaper;
mod sinks;
mod status;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_datapath::abi::{DenialKey4, DenialKey6, Event, FlowKey4, FlowKey6};
use weir_flow::Item;

use crate::assemble::{Assembler, Pressure, WallClock};
use crate::endpoints::EndpointView;
use crate::kernel::{Counters, FlowTables, KernelClock, KernelError, Rings};
use crate::names::Names;
use crate::telemetry::OwnMetrics;
use book::{Book, Missing};
use entries::Entry;
use reaper::Reaper;

pub use ledger::Ledger;
pub use sinks::Sinks;
pub use status::{LedgerLine, LossTotal, PipelineStatus, StatusView, TableFill};

/// Between two looks into the rings.
const TICK: Duration = Duration::from_millis(20);
/// How long the first look waits for the pods' names. Kubernetes may be long in coming with them; everything is in the
/// tables until then.
const NAMES: Duration = Duration::from_secs(10);
/// More than a ring holds, so that one look empties it.
const EVENTS: usize = 16_384;

/// What the pipeline is made of.
pub struct Pipeline {
    /// The doorbells.
    pub rings: Rings,
    /// Flow and denial entries.
    pub tables: FlowTables,
    /// The ledger's and the programs' counters.
    pub counters: Counters,
    /// Kernel time.
    pub clock: Arc<KernelClock>,
    /// Makes records of entries and doorbells.
    pub assembler: Assembler,
    /// Makes losses and metrics of the ledger.
    pub ledger: Ledger,
    /// Set when the policies are in force and the pods have their names.
    pub ready: Arc<AtomicBool>,
    /// Who has an address; here only to be tidied.
    pub names: Arc<Names>,
    /// Which endpoints there are.
    pub endpoints: EndpointView,
    /// Where records go.
    pub sinks: Sinks,
    /// How the collector fares.
    pub own: OwnMetrics,
    /// What `Status` shows.
    pub status: StatusView,
    /// Between two sweeps.
    pub sweep_interval: Duration,
}

/// What the loop remembers from one turn to the next.
struct Turn {
    events: Vec<Event>,
    items: Vec<Item>,
    losses: Vec<Item>,
    reaper: Reaper,
    book: Book,
    missing: Missing,
    next_sweep: Instant,
    has_swept: bool,
    /// The last error, so that one that stays is logged once.
    trouble: Option<String>,
}

impl Pipeline {
    /// Runs the loop on a thread of its own until `shutdown`. What is in the kernel then stays there, for the next run.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(mut self, shutdown: CancellationToken) -> io::Result<JoinHandle<()>> {
        let body = move || {
            self.wait_for_names(&shutdown);
            let mut turn = Turn::new();
            while !shutdown.is_cancelled() {
                let result = self.turn(&mut turn);
                turn.note(result.err());
                thread::sleep(TICK);
            }
            let result = self.turn(&mut turn);
            turn.note(result.err());
        };
        thread::Builder::new()
            .name("pipeline".to_owned())
            .spawn(body)
    }

    /// Waits until the pods' names are known: what an earlier run left would be told without them, and then again.
    fn wait_for_names(&self, shutdown: &CancellationToken) {
        let until = Instant::now() + NAMES;
        while !self.ready.load(Ordering::Relaxed)
            && !shutdown.is_cancelled()
            && Instant::now() < until
        {
            thread::sleep(TICK);
        }
    }

    /// One turn: rings, tables if it is time, what has ended, delivery; then the rings' room is given back and what has
    /// ended is deleted. The first turn looks at the tables first: what an earlier run had not released is known then.
    fn turn(&mut self, turn: &mut Turn) -> Result<(), KernelError> {
        self.rings.read(EVENTS, |event| turn.events.push(*event));
        let is_sweep = Instant::now() >= turn.next_sweep;
        if turn.events.is_empty() && !is_sweep && !turn.reaper.is_due() {
            return Ok(());
        }
        let clock = self.clock.wall()?;
        if !turn.has_swept {
            self.sweep(turn, &clock)?;
        }
        self.own.events.inc_by(turn.events.len() as u64);
        self.assembler.events(&turn.events, &clock, &mut turn.items);
        turn.events.clear();
        if is_sweep && turn.has_swept {
            self.sweep(turn, &clock)?;
        }
        turn.has_swept = true;
        let read = turn.reaper.read(
            &self.tables,
            &mut self.assembler,
            &mut turn.book,
            &clock,
            &mut turn.items,
        )?;
        let records = turn.items.len() + turn.losses.len();
        self.own.records.inc_by(records as u64);
        self.ledger.note(&turn.losses);
        self.sinks.deliver(&mut turn.items);
        let ledger = &self.ledger;
        self.sinks
            .deliver_losses(&mut turn.losses, |batch| ledger.save_before(batch));
        self.ledger.save();
        self.rings.release();
        turn.reaper.delete(&mut self.tables, read)
    }

    /// Reads all tables and the ledger once.
    fn sweep(&mut self, turn: &mut Turn, clock: &WallClock) -> Result<(), KernelError> {
        let began = Instant::now();
        turn.next_sweep = began + self.sweep_interval;
        turn.missing.begin(&self.endpoints, &mut self.assembler);
        turn.book.begin();
        self.assembler.begin_sweep();
        let fills = [
            self.table::<FlowKey4>(turn, clock)?,
            self.table::<FlowKey6>(turn, clock)?,
            self.table::<DenialKey4>(turn, clock)?,
            self.table::<DenialKey6>(turn, clock)?,
        ];
        turn.reaper.retire(&self.tables, &self.endpoints)?;
        self.ledger
            .read(&mut self.counters, &mut turn.missing, clock, &mut |item| {
                turn.losses.push(item)
            })?;
        turn.book.pressure = Pressure::of(&fills[..2]);
        turn.book.forget(&self.endpoints);
        self.status.publish(self.ledger.status(&turn.book, &fills));
        self.names.expire(clock.now());
        self.own
            .sweep_seconds
            .observe(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Reads one table.
    fn table<K: Entry>(
        &mut self,
        turn: &mut Turn,
        clock: &WallClock,
    ) -> Result<TableFill, KernelError> {
        let Turn {
            items,
            reaper,
            book,
            missing,
            ..
        } = turn;
        let (assembler, pressure) = (&mut self.assembler, book.pressure);
        let used = self.tables.sweep::<K>(|key, value| {
            missing.meet(key.entry().endpoint());
            book.living(key, value);
            let disposition = key.meet(assembler, value, clock, pressure, &mut |item| {
                items.push(item)
            });
            reaper.consider(key.entry(), K::state(value), disposition);
        })?;
        let fill = TableFill {
            name: K::NAME,
            used: used as u64,
            capacity: u64::from(self.tables.capacity::<K>()?),
        };
        self.own.set_map(fill.into());
        Ok(fill)
    }
}

impl Turn {
    fn new() -> Self {
        Self {
            events: Vec::new(),
            items: Vec::new(),
            losses: Vec::new(),
            reaper: Reaper::default(),
            book: Book::default(),
            missing: Missing::default(),
            next_sweep: Instant::now(),
            has_swept: false,
            trouble: None,
        }
    }

    /// Logs an error when it is a new one, and its end.
    fn note(&mut self, error: Option<KernelError>) {
        let error = error.map(|error| error.to_string());
        if error != self.trouble {
            match &error {
                Some(error) => {
                    tracing::error!(%error, "cannot read what the kernel counted; trying again")
                }
                None => tracing::info!("reading what the kernel counted works again"),
            }
        }
        self.trouble = error;
    }
}

impl Pressure {
    /// The pressure that fills of tables mean.
    fn of(fills: &[TableFill]) -> Self {
        let is_high = fills.iter().any(|fill| fill.used * 5 > fill.capacity * 4);
        if is_high { Self::High } else { Self::Normal }
    }
}
