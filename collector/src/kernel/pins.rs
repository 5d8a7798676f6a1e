//! Where maps and links are pinned: `<root>/v<schema>/maps/<NAME>`, `<root>/v<schema>/links/<ifindex>_{in,out}`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use weir_datapath::abi::{Direction, SCHEMA};

use super::KernelError;

/// A directory on a bpf file system that belongs to one collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRoot {
    path: PathBuf,
}

/// Held while a collector uses a pin root; the kernel releases it with the process.
#[derive(Debug)]
pub(super) struct PinLock {
    _directory: File,
}

/// A pinned link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkPin {
    pub(super) path: PathBuf,
    pub(super) ifindex: u32,
    pub(super) direction: Direction,
}

impl Default for PinRoot {
    fn default() -> Self {
        Self::new("/sys/fs/bpf/weir")
    }
}

impl PinRoot {
    /// The pin root at `path`; nothing is created yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn schema(&self) -> PathBuf {
        self.path.join(format!("v{SCHEMA}"))
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.schema().join("maps")
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(super) fn links(&self) -> PathBuf {
        self.schema().join("links")
    }

    pub(super) fn link(&self, ifindex: u32, direction: Direction) -> PathBuf {
        let suffix = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        self.links().join(format!("{ifindex}_{suffix}"))
    }

    /// Creates the directories.
    pub(super) fn create(&self) -> Result<(), KernelError> {
        for directory in [self.maps(), self.links()] {
            fs::create_dir_all(&directory)
                .map_err(|source| path_error("creating", &directory, source))?;
        }
        Ok(())
    }

    /// Takes the pin root for this process. The lock is on the directory itself, so that it does not matter from which
    /// container or by which path another collector reaches it.
    pub(super) fn lock(&self) -> Result<PinLock, KernelError> {
        fs::create_dir_all(&self.path)
            .map_err(|source| path_error("creating", &self.path, source))?;
        let directory =
            File::open(&self.path).map_err(|source| path_error("opening", &self.path, source))?;
        match directory.try_lock() {
            Ok(()) => Ok(PinLock {
                _directory: directory,
            }),
            Err(TryLockError::WouldBlock) => {
                let inode = directory.metadata().map_or(0, |metadata| metadata.ino());
                let holder = holder(
                    &fs::read_to_string("/proc/locks").unwrap_or_default(),
                    inode,
                );
                Err(KernelError::Locked {
                    path: self.path.clone(),
                    holder,
                })
            }
            Err(TryLockError::Error(source)) => Err(path_error("locking", &self.path, source)),
        }
    }

    /// Links pinned under this schema and, if it is the first start after an upgrade, under older ones.
    pub(super) fn pinned_links(&self) -> Result<Vec<LinkPin>, KernelError> {
        let mut links = Vec::new();
        for schema in self.schemas()? {
            let directory = schema.join("links");
            for path in entries(&directory)? {
                if let Some((ifindex, direction)) =
                    path.file_name().and_then(|name| parse_link(name.to_str()?))
                {
                    links.push(LinkPin {
                        path,
                        ifindex,
                        direction,
                    });
                }
            }
        }
        Ok(links)
    }

    /// Directories of all schemas that are pinned here.
    fn schemas(&self) -> Result<Vec<PathBuf>, KernelError> {
        let is_schema = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.strip_prefix('v')
                .is_some_and(|number| number.parse::<u32>().is_ok())
        };
        Ok(entries(&self.path)?.into_iter().filter(is_schema).collect())
    }

    /// Removes the maps of other schemas, once no link uses them.
    pub(super) fn remove_other_schemas(&self) -> Result<(), KernelError> {
        for schema in self
            .schemas()?
            .into_iter()
            .filter(|path| *path != self.schema())
        {
            remove_tree(&schema)?;
        }
        Ok(())
    }

    /// Removes every pin, and with it every link: enforcement ends.
    pub(super) fn remove(&self) -> Result<(), KernelError> {
        // Links before maps, so that no program runs on while its maps are gone from sight.
        for link in self.pinned_links()? {
            remove_file(&link.path)?;
        }
        remove_tree(&self.path)
    }
}

/// `12_in` → interface 12, packets to the pod.
fn parse_link(name: &str) -> Option<(u32, Direction)> {
    let (ifindex, suffix) = name.split_once('_')?;
    let direction = match suffix {
        "in" => Direction::Ingress,
        "out" => Direction::Egress,
        _ => return None,
    };
    Some((ifindex.parse().ok()?, direction))
}

/// Who holds the lock on a directory, from the text of /proc/locks (`1: FLOCK ADVISORY WRITE 123 00:1b:42 0 EOF`).
fn holder(locks: &str, inode: u64) -> String {
    let suffix = format!(":{inode}");
    let line = locks.lines().find(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1) == Some("FLOCK") && fields.nth(3).is_some_and(|file| file.ends_with(&suffix))
    });
    match line.and_then(|line| line.split_whitespace().nth(4)) {
        Some(pid) if pid != "0" && pid != "-1" => format!("process {pid}"),
        _ => "another process".to_owned(), // of another pid namespace
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let list = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| path_error("listing", directory, source))?,
    };
    let paths: Result<Vec<_>, _> = list.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(|source| path_error("listing", directory, source))
}

pub(super) fn remove_file(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| path_error("removing", path, source)),
    }
}

fn remove_tree(directory: &Path) -> Result<(), KernelError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| path_error("removing", directory, source)),
    }
}

pub(super) fn path_error(doing: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::Path {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_root_belongs_to_one_collector() {
        let directory = tempfile::tempdir().unwrap();
        let root = PinRoot::new(directory.path());
        let held = root.lock().unwrap();
        let error = root.lock().unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        root.lock().unwrap();
    }

    #[test]
    fn links_are_found_by_name_and_removed_with_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = PinRoot::new(directory.path().join("weir"));
        root.create().unwrap();
        fs::write(root.link(12, Direction::Ingress), "").unwrap();
        fs::write(root.links().join("other"), "").unwrap();
        let links = root.pinned_links().unwrap();
        assert_eq!(links.len(), 1);
        assert_eq!(
            (links[0].ifindex, links[0].direction),
            (12, Direction::Ingress)
        );
        root.remove().unwrap();
        assert!(fs::metadata(root.path()).is_err());
        root.remove().unwrap();
    }

    #[test]
    fn the_holder_of_a_lock_is_named_where_it_can_be_seen() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1b:42 0 EOF\n2: FLOCK  ADVISORY  WRITE 812 00:1b:42 0 EOF\n";
        assert_eq!(holder(locks, 42), "process 812");
        assert_eq!(holder(locks, 43), "another process");
    }
}
