//! A map writer that can be watched: after every single write somebody may look at what the programs do now.

use super::KernelTestError;
use super::prober::{Observed, Probe, Prober};
use crate::kernel::{KernelError, MapWrite, MapWriter, PolicyMaps};

/// Called after a write, with the means to run packets.
pub(super) type Look =
    Box<dyn FnMut(&MapWrite, &mut dyn FnMut(&Probe) -> Result<Observed, KernelTestError>)>;

pub(super) struct Hooked {
    maps: PolicyMaps,
    pub(super) prober: Prober,
    look: Option<Look>,
}

impl Hooked {
    pub(super) fn new(maps: PolicyMaps, prober: Prober) -> Self {
        Self {
            maps,
            prober,
            look: None,
        }
    }

    pub(super) fn watch(&mut self, look: Option<Look>) {
        self.look = look;
    }

    pub(super) fn probe(&mut self, probe: &Probe) -> Result<Observed, KernelTestError> {
        self.prober.probe(&mut self.maps, probe)
    }

    /// Removes everything from the policy maps.
    pub(super) fn clear(&mut self) -> Result<(), KernelError> {
        let dump = self.maps.dump()?;
        let peers = dump
            .peers
            .iter()
            .map(|(address, _)| MapWrite::Peer(*address, None));
        let networks = dump
            .networks
            .iter()
            .map(|(network, _)| MapWrite::Network(*network, None));
        let frontends = dump
            .frontends
            .iter()
            .map(|(key, _)| MapWrite::Frontend(*key, None));
        let verdicts = dump
            .verdicts
            .iter()
            .map(|(key, _)| MapWrite::Verdict(*key, None));
        for write in peers.chain(networks).chain(frontends).chain(verdicts) {
            self.maps.write(&write)?;
        }
        self.prober.forget_pods();
        self.maps.write(&MapWrite::Epoch(0))
    }
}

impl MapWriter for Hooked {
    fn write(&mut self, write: &MapWrite) -> Result<(), KernelError> {
        self.maps.write(write)?;
        if let Some(look) = &mut self.look {
            let (prober, maps) = (&mut self.prober, &mut self.maps);
            look(write, &mut |probe| prober.probe(maps, probe));
        }
        Ok(())
    }

    fn inverse(&self, write: &MapWrite) -> Result<MapWrite, KernelError> {
        self.maps.inverse(write)
    }

    fn capacity(&self, map: &'static str) -> u32 {
        self.maps.capacity(map)
    }
}
