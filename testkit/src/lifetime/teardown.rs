//! Removing a cluster: its processes, namespaces (and with them all links), pins and marker, in this order.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{ClusterId, Marker, bpffs};
use crate::{Error, netns::NETNS_DIR};

/// How long a process may take to vanish after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Removes a cluster; to be kept where the cluster itself is out of reach, as in a handler of Ctrl-C.
///
/// Clones are one and the same: whoever comes first removes, the others find nothing to do.
#[derive(Clone, Debug)]
pub struct Teardown {
    marker: Arc<Mutex<Option<Marker>>>,
}

/// What was removed of a cluster whose owner was dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The cluster's id.
    pub id: String,
    /// How many of its processes were killed.
    pub processes: usize,
    /// How many of its network namespaces were removed.
    pub namespaces: usize,
    /// Whether it had a directory under bpffs.
    pub pins: bool,
}

/// The identity of a namespace: the device and inode of its file.
type NsKey = (u64, u64);

// === impl Teardown ===

impl Teardown {
    pub(crate) fn new(marker: Marker) -> Self {
        Self {
            marker: Arc::new(Mutex::new(Some(marker))),
        }
    }

    /// Kills all processes in the cluster's namespaces (this process excepted) and removes namespaces, links and pins.
    ///
    /// Sockets that this process still holds there keep their namespace alive, nameless, until they are closed.
    ///
    /// # Errors
    /// Something could not be removed; the rest is gone. It may be called again, and a later sweep tries again too.
    pub fn run(&self) -> Result<(), Error> {
        let mut slot = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(marker) = slot.take() else {
            return Ok(());
        };
        match remove_cluster(marker.id()) {
            Ok(_) => marker.remove(),
            Err(error) => {
                *slot = Some(marker);
                Err(error)
            }
        }
    }
}

/// Removes what clusters left behind whose owner died without teardown.
pub(crate) fn sweep_stale() -> Result<Vec<Swept>, Error> {
    let mut all_swept = Vec::new();
    let stale = Marker::stale()?;
    for marker in stale.markers {
        let swept = remove_cluster(marker.id())?;
        marker.remove()?;
        tracing::info!(cluster = %swept.id, processes = swept.processes, namespaces = swept.namespaces, "removed a dead cluster");
        all_swept.push(swept);
    }
    Ok(all_swept)
}

/// Removes one namespace of a living cluster and the processes in it.
pub(crate) fn remove_netns(id: &ClusterId, path: &Path) -> Result<(), Error> {
    kill_processes(id, &[path.to_owned()])?;
    remove_namespace(path)
}

/// Goes through all steps even if one fails, and reports the first failure.
fn remove_cluster(id: &ClusterId) -> Result<Swept, Error> {
    let namespaces = namespaces_of(id)?;
    let killed = kill_processes(id, &namespaces);
    let removed = namespaces
        .iter()
        .try_for_each(|path| remove_namespace(path));
    let pins = bpffs::remove_pins(id);
    let processes = killed?;
    removed?;
    Ok(Swept {
        id: id.to_string(),
        processes,
        namespaces: namespaces.len(),
        pins: pins?,
    })
}

fn namespaces_of(id: &ClusterId) -> Result<Vec<PathBuf>, Error> {
    let prefix = id.name_of("");
    let entries = match std::fs::read_dir(NETNS_DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::path("list", NETNS_DIR)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::path("list", NETNS_DIR))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_bytes())
        {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// What `ip netns del` does, without its refusal of a file that is no mount (left by a half-made namespace or a reboot).
fn remove_namespace(path: &Path) -> Result<(), Error> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(Error::path("unmount", path)(errno)),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::path("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Kills until no process is left in the namespaces: one that forks meanwhile is met in the next round.
fn kill_processes(id: &ClusterId, namespaces: &[PathBuf]) -> Result<usize, Error> {
    // Whatever a file in /run/netns may stand for: never the namespace this process or the machine lives in.
    let spared = ["/proc/self/ns/net", "/proc/1/ns/net"].map(|path| ns_key(Path::new(path)));
    let keys: Vec<NsKey> = namespaces
        .iter()
        .filter_map(|path| ns_key(path))
        .filter(|key| !spared.contains(&Some(*key)))
        .collect();
    let mut killed = Vec::new();
    let deadline = Instant::now() + KILL_PATIENCE;
    loop {
        let alive = processes_in(&keys)?;
        if alive.is_empty() {
            return Ok(killed.len());
        }
        if Instant::now() > deadline {
            return Err(Error::ProcessesRemain {
                id: id.to_string(),
                pids: alive,
                waited: KILL_PATIENCE,
            });
        }
        for pid in alive {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::io("kill process", pid)(errno)),
            }
            if !killed.contains(&pid) {
                killed.push(pid);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The processes whose main thread is in one of the namespaces, this one excepted. Zombies have no namespace any more.
fn processes_in(keys: &[NsKey]) -> Result<Vec<i32>, Error> {
    let entries = std::fs::read_dir("/proc").map_err(Error::path("list", "/proc"))?;
    let own = std::process::id().cast_signed();
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            ns_key(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|key| keys.contains(&key))
        })
        .collect())
}

fn ns_key(path: &Path) -> Option<NsKey> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
