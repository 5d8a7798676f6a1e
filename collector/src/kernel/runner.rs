//! Runs made-up packets through the programs (`BPF_PROG_TEST_RUN`).

use std::io;
use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::programs::ProgramFd;
use weir_datapath::abi::{Direction, programs};

use super::KernelError;
use super::load::program_fd;
use super::sys::{self, SK_BUFF};

/// Offsets in `struct __sk_buff`.
const INGRESS_IFINDEX: usize = 36;
const IFINDEX: usize = 40;

/// What the programs say to drop a packet (`TCX_DROP`).
const DROP: u32 = 2;

/// Where a packet towards the pod comes from, as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketOrigin {
    /// From a socket of the node.
    Local,
    /// From this interface, or any if it does not matter.
    Forwarded(u32),
}

/// Whether a packet went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It did.
    Yes,
    /// The program dropped it.
    No,
}

/// The two classifiers, to be run by hand.
pub struct PacketRunner {
    from_pod: ProgramFd,
    to_pod: ProgramFd,
}

impl PacketRunner {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            from_pod: program_fd(ebpf, programs::FROM_POD)?,
            to_pod: program_fd(ebpf, programs::TO_POD)?,
        })
    }

    /// Runs an Ethernet frame through one direction of an interface of this thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`KernelError::Run`] if there is no such interface, or the frame is too short or too long for a run.
    pub fn run(
        &self,
        direction: Direction,
        ifindex: u32,
        origin: PacketOrigin,
        frame: &[u8],
    ) -> Result<Passed, KernelError> {
        let mut context = [0_u8; SK_BUFF];
        let ingress = match origin {
            PacketOrigin::Local => 0,
            PacketOrigin::Forwarded(ifindex) => ifindex,
        };
        context[INGRESS_IFINDEX..][..4].copy_from_slice(&ingress.to_ne_bytes());
        context[IFINDEX..][..4].copy_from_slice(&ifindex.to_ne_bytes());
        let (program, name) = match direction {
            Direction::Egress => (&self.from_pod, programs::FROM_POD),
            Direction::Ingress => (&self.to_pod, programs::TO_POD),
        };
        let result = sys::test_run(program.as_fd(), frame, Some(&context));
        let returned = result.map_err(|error| run_error(name, &error))?;
        Ok(if returned == DROP {
            Passed::No
        } else {
            Passed::Yes
        })
    }
}

fn run_error(program: &'static str, error: &io::Error) -> KernelError {
    KernelError::Run {
        program,
        reason: error.to_string(),
    }
}
