//! What the process may still do once its programs are loaded.
//!
//! Capabilities belong to threads (capabilities(7)): a thread has what the one that started it had at that moment. The main
//! thread loads the programs with all it was given, then keeps what the kernel's side needs from then on; the threads of
//! that side come after. The runtime's workers, which speak to the network, keep nothing of it from their start.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use tracing::error;

/// What attaching to the pods that are yet to come, and reading and writing maps, needs.
///
/// - `CAP_BPF`: links and, on kernels before 6.0, every call of bpf(2) where unprivileged use is off.
/// - `CAP_NET_ADMIN`: tcx and clsact hooks, all groups of rtnetlink.
///
/// `CAP_PERFMON` (the verifier) and `CAP_SYS_ADMIN` (mounting a bpffs) are over with the start.
const KERNEL: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];

/// Root outside a container may be given directories and files of another user; who is root owns the rest of them anyway.
/// In a pod nobody has it.
const FILES: Capability = Capability::CAP_DAC_OVERRIDE;

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// It attaches programs, or reads and writes maps.
    Kernel,
    /// It serves, follows and sends.
    Network,
}

/// Capabilities cannot be given up.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up capabilities that are needed no longer: {0}")]
pub struct PrivilegesError(#[from] CapsError);

/// For the main thread once the programs are loaded: it and the threads that it starts from now on keep what attaching to
/// later pods needs.
///
/// # Errors
/// [`PrivilegesError`].
pub fn keep_for_the_kernel() -> Result<(), PrivilegesError> {
    Ok(keep(Work::Kernel)?)
}

/// For each of the runtime's worker threads, at its start.
pub fn keep_for_a_worker() {
    if let Err(error) = keep(Work::Network) {
        error!(%error, "a worker thread goes on with capabilities that it does not need");
    }
}

/// Reduces this thread's capabilities, and what any program that it would run could have.
fn keep(work: Work) -> Result<(), CapsError> {
    let kept = kept(work);
    // Taking from the bounding set wants a capability itself: without it, whoever started the process has set it.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::runtime::thread_all_supported().difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        let now = caps::read(None, set)?;
        let left: CapsHashSet = now.intersection(&kept).copied().collect();
        caps::set(None, set, &left)?;
    }
    Ok(())
}

fn kept(work: Work) -> CapsHashSet {
    let kernel: &[Capability] = match work {
        Work::Kernel => &KERNEL,
        Work::Network => &[],
    };
    kernel.iter().copied().chain([FILES]).collect()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn effective() -> CapsHashSet {
        caps::read(None, CapSet::Effective).unwrap()
    }

    #[test]
    fn a_thread_keeps_what_its_work_needs_and_its_children_get_no_more() {
        let before = effective();
        if !before.contains(&Capability::CAP_SETPCAP) {
            eprintln!("skipped: needs root to have something to give up");
            return;
        }
        thread::spawn(|| {
            keep_for_the_kernel().unwrap();
            assert_eq!(effective(), kept(Work::Kernel));
            let bounding = caps::read(None, CapSet::Bounding).unwrap();
            assert_eq!(bounding, kept(Work::Kernel));
            let child = thread::spawn(|| {
                assert_eq!(effective(), kept(Work::Kernel));
                keep_for_a_worker();
                assert_eq!(effective(), CapsHashSet::from([FILES]));
            });
            child.join().unwrap();
            // Again, with less to begin with.
            keep_for_the_kernel().unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(effective(), before, "other threads keep theirs");
    }
}
