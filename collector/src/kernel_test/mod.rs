//! Policy tables run through the real programs: what would the kernel do with this packet, and by which rule?
//!
//! Everything is private: maps and programs of its own, no pin, no interface. Packets run on the loopback device's
//! number (`BPF_PROG_TEST_RUN` wants one that exists, and every network namespace has that one), at whose slot the
//! endpoint in question is put for the moment. A running collector is never touched.

mod frames;
mod hooked;
mod prober;
mod rows;
mod script;

use std::collections::HashMap;
use std::time::Instant;

use weir_datapath::abi;
use weir_policy::model::Name;
use weir_policy::tables::Update;

use crate::apply::{Applied, Applier, ApplyError, EndpointSpec, GRACE};
use crate::config::Posture;
use crate::endpoints::LocalPod;
use crate::kernel::{Attacher, Kernel, KernelError, Limits, MapWrite, Options};
use hooked::Hooked;

pub use prober::{Observed, Probe, Prober, Remote};
pub use rows::RowScripts;
pub use script::{Mismatch, NodeScript, ScriptReport, ScriptStep, Watch, run_scripts};

/// Slots below belong to the device that packets run on.
const FIRST_SLOT: u32 = 8;

/// Why packets cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum KernelTestError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The tables were refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// More pods than slots.
    #[error("{pods} pods on one node: {slots} can be tested at a time")]
    TooManyPods {
        /// On the node.
        pods: usize,
        /// There are.
        slots: u32,
    },
    /// The pod has not been given to [`KernelTest::set_pods`].
    #[error("pod {pod} is not on the node under test")]
    UnknownPod {
        /// Which.
        pod: Name,
    },
    /// The pod has no address of the other side's family.
    #[error("pod {pod} has no address of the family of {remote}")]
    NoAddress {
        /// Which.
        pod: Name,
        /// The other side.
        remote: std::net::IpAddr,
    },
    /// The program dropped or passed the packet without a word about why.
    #[error("the kernel said nothing about a packet of pod {pod}")]
    Silent {
        /// Which.
        pod: Name,
    },
}

/// One node's tables in private maps. [`KernelTest::reset`] makes room for another node's: loading the programs is what
/// takes long.
pub struct KernelTest {
    applier: Applier<Hooked>,
    slots: HashMap<Name, u32>,
    _programs: Attacher,
}

impl KernelTest {
    /// Loads the programs. Needs the rights to; see [`Kernel::private`].
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn new() -> Result<Self, KernelTestError> {
        let limits = Limits {
            networks: 65_536,
            ..Limits::small()
        };
        let kernel = Kernel::private(&Options {
            limits,
            ..Options::default()
        })?;
        let prober = Prober::new(kernel.runner, kernel.tables, kernel.rings);
        let applier = Applier::new(Hooked::new(kernel.policy, prober));
        Ok(Self {
            applier,
            slots: HashMap::new(),
            _programs: kernel.attacher,
        })
    }

    /// Empties all tables.
    ///
    /// # Errors
    ///
    /// [`KernelError`].
    pub fn reset(self) -> Result<Self, KernelTestError> {
        let mut hooked = self.applier.into_writer();
        hooked.clear()?;
        Ok(Self {
            applier: Applier::new(hooked),
            slots: HashMap::new(),
            _programs: self._programs,
        })
    }

    /// Says which pods the node has now. New ones are pending (denied) until an update brings their sets.
    ///
    /// # Errors
    ///
    /// [`KernelTestError::TooManyPods`], [`KernelError`].
    pub fn set_pods(&mut self, pods: &[LocalPod]) -> Result<(), KernelTestError> {
        let capacity = abi::ENDPOINT_SLOTS - FIRST_SLOT;
        if pods.len() > capacity as usize {
            return Err(KernelTestError::TooManyPods {
                pods: pods.len(),
                slots: capacity,
            });
        }
        let prober = &mut self.applier.writer_mut().prober;
        prober.forget_pods();
        for (slot, pod) in (FIRST_SLOT..).zip(pods) {
            prober.set_pod(slot, &pod.name, &pod.addresses);
        }
        // Slots are dealt anew: sets go with the names.
        self.slots = (FIRST_SLOT..)
            .zip(pods)
            .map(|(slot, pod)| (pod.name.clone(), slot))
            .collect();
        self.applier.unbind_all();
        for (name, slot) in &self.slots {
            self.applier.unbind(*slot, Posture::Deny)?;
            self.applier.bind(*slot, name)?;
        }
        Ok(())
    }

    /// Brings an update into force, and removes what it left.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    pub fn apply(&mut self, update: &Update) -> Result<Applied, KernelTestError> {
        let applied = self.applier.apply(update)?;
        // No packet runs but ours, so there is no grace time to wait for. Twice: what a removal releases is freed later.
        for rounds in 1..=3 {
            self.applier.clean_up(Instant::now() + rounds * GRACE)?;
        }
        Ok(applied)
    }

    /// The same; `look` is called after every single map write, cleanup included, as if the collector had stopped there.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    pub fn apply_watched(
        &mut self,
        update: &Update,
        look: impl FnMut(&MapWrite, &mut dyn FnMut(&Probe) -> Result<Observed, KernelTestError>)
        + 'static,
    ) -> Result<Applied, KernelTestError> {
        self.applier.writer_mut().watch(Some(Box::new(look)));
        let applied = self.apply(update);
        self.applier.writer_mut().watch(None);
        applied
    }

    /// The address that a probe's pod has in it.
    fn local_address(&self, probe: &Probe) -> Result<std::net::IpAddr, KernelTestError> {
        let (_, local) = self.applier.writer().prober.local(probe)?;
        Ok(local)
    }

    /// Runs one packet.
    ///
    /// # Errors
    ///
    /// [`KernelTestError`].
    pub fn probe(&mut self, probe: &Probe) -> Result<Observed, KernelTestError> {
        self.applier.writer_mut().probe(probe)
    }
}

/// The endpoint under test, as it stands at the loopback device's slot.
fn spec(id: u32, addresses: &[std::net::IpAddr]) -> EndpointSpec {
    EndpointSpec {
        ifindex: prober::LOOPBACK,
        id,
        flags: 0,
        addresses: addresses.to_vec(),
        more_sources: Vec::new(),
        grace_until: 0,
        nascent_quota: u32::MAX,
        flow_quota: u32::MAX,
    }
}
