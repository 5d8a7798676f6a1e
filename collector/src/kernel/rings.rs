//! The doorbells. Denials have their own ring, which is always emptied first.

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use weir_datapath::abi::{Event, maps};

use super::load::take;
use super::{KernelError, sys};

/// Readers of both rings. Read on a short timer: the programs never wake a reader.
pub struct Rings {
    denials: RingBuf<MapData>,
    flows: RingBuf<MapData>,
}

impl Rings {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            denials: take(ebpf, maps::DENIAL_EVENTS)?,
            flows: take(ebpf, maps::FLOW_EVENTS)?,
        })
    }

    /// Hands over what is there, denials first, at most `limit` events of each ring, so that neither a flood nor a
    /// slow reader keeps the caller here for ever. Says how many there were.
    pub fn drain(&mut self, limit: usize, mut visit: impl FnMut(&Event)) -> usize {
        drain(&mut self.denials, limit, &mut visit) + drain(&mut self.flows, limit, &mut visit)
    }
}

fn drain(ring: &mut RingBuf<MapData>, limit: usize, visit: &mut impl FnMut(&Event)) -> usize {
    let mut count = 0;
    while count < limit {
        let Some(item) = ring.next() else { break };
        // Copied, so that the ring's room is free again before the event is worked on.
        let event = sys::from_bytes::<Event>(&item);
        drop(item);
        count += 1;
        if let Some(event) = event {
            visit(&event);
        }
    }
    count
}
