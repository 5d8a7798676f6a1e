//! The doorbells. Denials have their own ring, which is always read first.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{Map, MapError};
use weir_datapath::abi::{Event, maps};

use super::error::{io_error, map_error};
use super::load::missing;
use super::ring::Ring;
use super::{KernelError, sys};

/// Readers of both rings. Read on a short timer: the programs never wake a reader.
pub struct Rings {
    denials: Ring,
    flows: Ring,
}

impl Rings {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            denials: open(ebpf, maps::DENIAL_EVENTS)?,
            flows: open(ebpf, maps::FLOW_EVENTS)?,
        })
    }

    /// Hands over what is new, denials first, at most `limit` events of each ring, so that neither a flood nor a slow
    /// reader keeps the caller here for ever. Says how many there were. They stay in the rings until
    /// [`Rings::release`]: if this process dies before, the next one reads them again.
    pub fn read(&mut self, limit: usize, mut visit: impl FnMut(&Event)) -> usize {
        let mut visit = |bytes: &[u8]| {
            if let Some(event) = sys::from_bytes::<Event>(bytes) {
                visit(&event);
            }
        };
        self.denials.read(limit, &mut visit) + self.flows.read(limit, &mut visit)
    }

    /// What was read has been dealt with, and its room is free.
    pub fn release(&mut self) {
        self.denials.release();
        self.flows.release();
    }
}

fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<Ring, KernelError> {
    let map = ebpf.take_map(name).ok_or_else(|| missing("map", name))?;
    let failed = |error: MapError| map_error("opening", name, error);
    let Map::RingBuf(data) = map else {
        return Err(io_error(
            "opening",
            name,
            std::io::ErrorKind::InvalidData.into(),
        ));
    };
    let size = data.info().map_err(failed)?.max_entries();
    Ring::new(data.fd().as_fd(), size).map_err(|source| io_error("opening", name, source))
}
