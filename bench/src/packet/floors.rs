//! The programs that Weir's are compared with, and the wrapper; `ebpf/bench/`.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier};
use weir_datapath::abi::IPPROTO_TCP;

use super::frames::{ALLOWED, PEER_NUMBER, POD, peer};

/// The floor's source, printed with the figures.
pub(super) const SOURCE: &str = include_str!("../../../ebpf/bench/floor.rs");

const EMPTY: &str = "bench_empty";
const FLOOR: &str = "bench_floor";
const WRAPPER: &str = "bench_next_port";

/// In which order the wrapper takes ports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Rising = 0,
    Random = 1,
}

/// Loaded programs and maps.
pub(super) struct Floors {
    ebpf: Ebpf,
    judged: ProgramArray<MapData>,
}

impl Floors {
    /// Loads them; the floor's table gets an entry for each of these source ports of the peer.
    pub(super) fn load(object: &[u8], ports: RangeInclusive<u16>) -> Result<Self> {
        let mut ebpf = Ebpf::load(object).context("loading bench.o")?;
        for name in [EMPTY, FLOOR, WRAPPER] {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .with_context(|| format!("bench.o has no program {name}"))?
                .try_into()?;
            program.load().with_context(|| format!("loading {name}"))?;
        }
        let judged = ebpf.take_map("JUDGED").context("bench.o has no JUDGED")?;
        let mut floors = Self {
            ebpf,
            judged: judged.try_into()?,
        };
        floors.fill(ports)?;
        Ok(floors)
    }

    fn fill(&mut self, ports: RangeInclusive<u16>) -> Result<()> {
        let mut table: HashMap<_, [u32; 4], [u64; 2]> = self.map("FLOOR")?.try_into()?;
        for port in ports {
            let [a, b] = port.to_be_bytes();
            let [c, d] = ALLOWED.to_be_bytes();
            let key = [
                u32::from_ne_bytes(peer(PEER_NUMBER).0.octets()),
                u32::from_ne_bytes(POD.0.octets()),
                u32::from_ne_bytes([a, b, c, d]),
                u32::from(IPPROTO_TCP),
            ];
            table.insert(key, [0, 0], 0)?;
        }
        Ok(())
    }

    pub(super) fn empty(&self) -> Result<&SchedClassifier> {
        self.program(EMPTY)
    }

    pub(super) fn floor(&self) -> Result<&SchedClassifier> {
        self.program(FLOOR)
    }

    /// The wrapper.
    pub(super) fn wrapper(&self) -> Result<&SchedClassifier> {
        self.program(WRAPPER)
    }

    /// Has the wrapper write ports at `offset`, from `start`, and go on to `judged`.
    pub(super) fn plan(
        &mut self,
        judged: &ProgramFd,
        offset: usize,
        order: Order,
        start: u64,
    ) -> Result<()> {
        self.judged.set(0, judged, 0).context("wrapping")?;
        let mut plan: Array<_, [u64; 3]> = self.map("PORT")?.try_into()?;
        Ok(plan.set(0, [offset as u64, order as u64, start], 0)?)
    }

    fn program(&self, name: &str) -> Result<&SchedClassifier> {
        let program = self.ebpf.program(name);
        Ok(program.with_context(|| format!("no {name}"))?.try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .with_context(|| format!("bench.o has no map {name}"))
    }
}
