//! One network namespace: entering it, running programs in it, its switches and counters.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::{Error, InterfaceCounters, program};

/// Where `ip netns` keeps its names.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// A named network namespace. Holding one does not keep the namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetNs {
    name: Arc<str>,
}

impl NetNs {
    /// A handle on the namespace of that name; whether it exists shows when it is entered.
    pub fn named(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// The name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, as `nsenter --net=` takes it.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&*self.name)
    }

    /// Runs `work` in this namespace, on a thread of its own, and waits for it.
    ///
    /// Only the network namespace changes: bpffs stays visible, unlike under `ip netns exec`, which remounts /sys.
    /// Sockets made by `work` belong to the namespace for good and may be used from any thread afterwards.
    /// A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// The namespace does not exist or may not be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let path = self.path();
        let file = File::open(&path).map_err(Error::path("open", &path))?;
        thread::scope(|scope| {
            let entered = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET)
                    .map_err(Error::path("enter namespace", &path))?;
                Ok(work())
            });
            entered
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that runs `program` in this namespace, by way of util-linux' `nsenter`.
    ///
    /// `nsenter` replaces itself with the program, so the child's process id is the program's. A missing program shows as
    /// exit code 127 and a line on its stderr.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs lines of the `ip` command in this namespace (without the leading `ip`), stopping at the first that fails.
    ///
    /// # Errors
    /// `ip` is missing, or refuses a line: the error names it.
    pub fn ip<S: AsRef<str>>(&self, lines: &[S]) -> Result<(), Error> {
        program::ip_batch(Some(self.name()), lines)
    }

    /// Sets switches below `/proc/sys/net`: pairs of a path such as `ipv4/ip_forward` and a value.
    ///
    /// # Errors
    /// A switch does not exist or refuses its value.
    pub fn sysctl<K: AsRef<str> + Sync>(&self, switches: &[(K, &str)]) -> Result<(), Error> {
        self.run(|| {
            for (key, value) in switches {
                // /proc/sys/net shows the namespace of the thread that opens it.
                let path = Path::new("/proc/sys/net").join(key.as_ref());
                std::fs::write(&path, value).map_err(Error::path("set", &path))?;
            }
            Ok(())
        })?
    }

    /// The packet and byte counters of an interface in this namespace, as the kernel has kept them since the interface was made.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn counters(&self, interface: &str) -> Result<InterfaceCounters, Error> {
        self.run(|| InterfaceCounters::read(interface))?
    }
}
