//! The kernel border: programs loaded and attached, maps pinned and typed, clocks, counters. The only module of the
//! collector with `unsafe` code, all of it in `sys` and `heap`.

mod clock;
mod counters;
mod error;
mod heap;
mod links;
mod load;
mod log;
mod mapped;
mod object;
mod overflow;
mod pins;
mod policy_maps;
mod preflight;
mod ring;
mod rings;
mod runner;
mod sys;
mod tables;
mod write;

use std::collections::BTreeMap;

use aya::Ebpf;
use weir_datapath::abi::maps;

pub use clock::KernelClock;
pub use counters::{CounterSums, Counters};
pub use error::KernelError;
pub(crate) use heap::give_back_free_memory;
pub use heap::share_one_heap;
pub use links::{AttachMethod, Attached, Attacher, Presence, Side, detach_all};
pub use load::MapOrigin;
pub use log::{KernelLog, LOG_TARGET, LogLevel};
pub use object::ObjectError;
pub use overflow::{Family, Overflow, REFUSALS};
pub use pins::PinRoot;
pub use policy_maps::{Dump, PolicyMaps};
pub use rings::Rings;
pub use runner::{PacketOrigin, PacketRunner, Passed};
pub use tables::{FlowTables, TableKey};
pub use write::{FrontendKey, MapWrite, MapWriter, Present};

/// How many entries the tables hold; per address family where there are two. A pinned table keeps its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flow entries.
    pub flows: u32,
    /// Denial entries.
    pub denials: u32,
    /// Addresses with an identity.
    pub peers: u32,
    /// CIDRs of policies.
    pub networks: u32,
    /// Service front ends.
    pub frontends: u32,
    /// (policy set, identity) pairs that allow something.
    pub verdicts: u32,
    /// Port ranges of all distinct port tables.
    pub ports: u32,
    /// Bytes of the flow ring.
    pub flow_ring: u32,
    /// Bytes of the denial ring.
    pub denial_ring: u32,
}

impl Default for Limits {
    /// For a node of 110 pods in a cluster of 100,000.
    fn default() -> Self {
        Self {
            flows: 131_072,
            denials: 16_384,
            peers: 262_144,
            networks: 16_384,
            frontends: 65_536,
            verdicts: 262_144,
            ports: 131_072,
            flow_ring: 1 << 20,
            denial_ring: 1 << 19,
        }
    }
}

impl Limits {
    /// Small tables for a throw-away kernel side.
    pub fn small() -> Self {
        Self {
            flows: 1024,
            denials: 1024,
            flow_ring: 1 << 16,
            denial_ring: 1 << 16,
            ..Self::default()
        }
    }

    fn sizes(&self) -> BTreeMap<&'static str, u32> {
        BTreeMap::from([
            (maps::FLOWS4, self.flows),
            (maps::FLOWS6, self.flows),
            (maps::DENIALS4, self.denials),
            (maps::DENIALS6, self.denials),
            (maps::PEERS4, self.peers),
            (maps::PEERS6, self.peers),
            (maps::NETWORKS4, self.networks),
            (maps::NETWORKS6, self.networks),
            (maps::FRONTENDS4, self.frontends),
            (maps::FRONTENDS6, self.frontends),
            (maps::VERDICTS, self.verdicts),
            (maps::PORTS, self.ports),
            (maps::FLOW_EVENTS, self.flow_ring),
            (maps::DENIAL_EVENTS, self.denial_ring),
        ])
    }
}

/// How to open the kernel side.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Table sizes.
    pub limits: Limits,
    /// tcx or clsact.
    pub method: AttachMethod,
    /// Host end of the veth, or the pod's own interface.
    pub side: Side,
    /// Which programs.
    pub flavour: Flavour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            method: AttachMethod::Auto,
            side: Side::Host,
            flavour: Flavour::Plain,
        }
    }
}

/// Which build of the programs is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Without diagnostics.
    Plain,
    /// With aya-log statements (debug builds only).
    Log(LogLevel),
}

/// The kernel side, in parts that can go to different owners.
pub struct Kernel {
    /// Puts programs on interfaces. Holds the programs and the pin root: keep it for as long as anything else here.
    pub attacher: Attacher,
    /// The maps that carry policy and endpoints.
    pub policy: PolicyMaps,
    /// The tables that the programs count in.
    pub tables: FlowTables,
    /// The doorbells.
    pub rings: Rings,
    /// The ledger and the programs' own counters.
    pub counters: Counters,
    /// Kernel time.
    pub clock: KernelClock,
    /// Runs made-up packets through the programs.
    pub runner: PacketRunner,
    /// What the programs say themselves, with [`Flavour::Log`].
    pub log: Option<KernelLog>,
    /// Whether the maps are an earlier run's.
    pub origin: MapOrigin,
}

impl Kernel {
    /// Checks the machine, takes the pin root, loads the programs; adopts maps that an earlier run pinned. No link is
    /// touched and no map written.
    ///
    /// # Errors
    ///
    /// One line that says what to do; see [`KernelError`].
    pub fn open(root: &PinRoot, options: &Options) -> Result<Self, KernelError> {
        let object = object(options.flavour)?;
        preflight::check()?;
        preflight::bpffs(root.path())?;
        let lock = root.lock()?;
        root.create()?;
        let (ebpf, origin) = load::load(object, Some(root), &options.limits, options.flavour)?;
        Self::assemble(ebpf, origin, options.flavour, |ebpf| {
            Attacher::new(
                ebpf,
                Some(root.clone()),
                Some(lock),
                options.method,
                options.side,
            )
        })
    }

    /// The same with maps and links of its own, which end with it: for policy tests. Touches no pin, and nothing that
    /// a running collector has.
    ///
    /// # Errors
    ///
    /// As [`Kernel::open`].
    pub fn private(options: &Options) -> Result<Self, KernelError> {
        let object = object(options.flavour)?;
        preflight::check()?;
        let (ebpf, origin) = load::load(object, None, &options.limits, options.flavour)?;
        Self::assemble(ebpf, origin, options.flavour, |ebpf| {
            Attacher::new(ebpf, None, None, options.method, options.side)
        })
    }

    fn assemble(
        mut ebpf: Ebpf,
        origin: MapOrigin,
        flavour: Flavour,
        attacher: impl FnOnce(Ebpf) -> Attacher,
    ) -> Result<Self, KernelError> {
        let tables = FlowTables::open(&mut ebpf)?;
        let policy = PolicyMaps::open(&mut ebpf, &tables)?;
        let log = match flavour {
            Flavour::Plain => None,
            Flavour::Log(_) => Some(KernelLog::open(&mut ebpf)?),
        };
        Ok(Self {
            policy,
            tables,
            rings: Rings::open(&mut ebpf)?,
            counters: Counters::open(&mut ebpf)?,
            clock: KernelClock::open(&mut ebpf)?,
            runner: PacketRunner::open(&mut ebpf)?,
            log,
            origin,
            attacher: attacher(ebpf),
        })
    }
}

fn object(flavour: Flavour) -> Result<&'static [u8], KernelError> {
    Ok(match flavour {
        Flavour::Plain => object::object()?,
        Flavour::Log(_) => object::object_with_log()?,
    })
}
