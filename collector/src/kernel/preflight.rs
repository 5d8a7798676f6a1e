//! Is this machine, and this process, able to run the kernel side? Each no is one line that says what to do.

use std::io;
use std::path::Path;

use aya::util::KernelVersion;
use caps::{CapSet, Capability};
use nix::mount::MsFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tracing::warn;

use super::KernelError;

/// Where a bpf file system belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// Bounded loops over packet data, ring buffers, batch reads and `bpf_ktime_get_coarse_ns` are all there.
const OLDEST: KernelVersion = KernelVersion::new(5, 15, 0);
/// First kernel with tcx.
const TCX: KernelVersion = KernelVersion::new(6, 6, 0);

/// Checks capabilities and the kernel's version. Since 5.11 map memory is charged to the cgroup, so that there is no
/// memory-lock limit to raise.
///
/// # Errors
///
/// [`KernelError::Capabilities`], [`KernelError::OldKernel`].
pub(super) fn check() -> Result<(), KernelError> {
    capabilities()?;
    let version = kernel_version()?;
    if version < OLDEST {
        return Err(KernelError::OldKernel { release: release() });
    }
    Ok(())
}

/// Whether this kernel has tcx links.
pub(super) fn has_tcx() -> bool {
    kernel_version().is_ok_and(|version| version >= TCX)
}

fn kernel_version() -> Result<KernelVersion, KernelError> {
    KernelVersion::current().map_err(|_| KernelError::OldKernel { release: release() })
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(
        |_| "of unknown version".to_owned(),
        |text| text.trim().to_owned(),
    )
}

fn capabilities() -> Result<(), KernelError> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    missing(has).map_or(Ok(()), |missing| Err(KernelError::Capabilities { missing }))
}

/// What is needed and not there, in words. CAP_PERFMON: without it the verifier refuses the programs' pointer arithmetic.
fn missing(has: impl Fn(Capability) -> bool) -> Option<String> {
    let all = has(Capability::CAP_SYS_ADMIN); // which stands for CAP_BPF and CAP_PERFMON, not for CAP_NET_ADMIN
    let needed = [
        ("CAP_BPF", all || has(Capability::CAP_BPF)),
        ("CAP_NET_ADMIN", has(Capability::CAP_NET_ADMIN)),
        ("CAP_PERFMON", all || has(Capability::CAP_PERFMON)),
    ];
    let missing: Vec<_> = needed
        .iter()
        .filter(|(_, is_there)| !is_there)
        .map(|(name, _)| *name)
        .collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// Makes sure that `root` lies on a bpf file system; mounts one at `/sys/fs/bpf` if that is what is missing.
///
/// # Errors
///
/// [`KernelError::NoBpffs`], [`KernelError::PinRootElsewhere`].
pub(super) fn bpffs(root: &Path) -> Result<(), KernelError> {
    if is_bpffs(root) {
        return Ok(());
    }
    if !root.starts_with(BPFFS) || is_bpffs(Path::new(BPFFS)) {
        return Err(KernelError::PinRootElsewhere {
            path: root.to_owned(),
        });
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), BPFFS, Some("bpf"), flags, Some("mode=0700")).map_err(
        |errno| KernelError::NoBpffs {
            path: BPFFS.into(),
            source: io::Error::from(errno),
        },
    )?;
    warn!(
        "mounted a bpf file system at {BPFFS}; in a container, mount the host's instead, or enforcement ends with it"
    );
    Ok(())
}

/// Whether the nearest existing directory at or above `path` is on a bpf file system.
pub(super) fn is_bpffs(path: &Path) -> bool {
    let nearest = path.ancestors().find(|ancestor| ancestor.is_dir());
    nearest
        .and_then(|directory| statfs(directory).ok())
        .is_some_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_that_is_missing_is_named() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN};
        let given =
            |set: &'static [Capability]| missing(move |capability| set.contains(&capability));
        assert_eq!(given(&[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON]), None);
        assert_eq!(given(&[CAP_SYS_ADMIN, CAP_NET_ADMIN]), None);
        assert_eq!(
            given(&[CAP_BPF, CAP_NET_ADMIN]).as_deref(),
            Some("CAP_PERFMON")
        );
        assert_eq!(given(&[CAP_SYS_ADMIN]).as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(
            given(&[]).as_deref(),
            Some("CAP_BPF and CAP_NET_ADMIN and CAP_PERFMON")
        );
    }

    #[test]
    fn a_directory_elsewhere_is_refused_with_a_hint() {
        let directory = tempfile::tempdir().unwrap();
        let error = bpffs(directory.path()).unwrap_err().to_string();
        assert!(error.contains("not on a bpf file system"), "{error}");
    }
}
