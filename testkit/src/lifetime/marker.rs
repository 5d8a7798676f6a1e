//! The marker that says a cluster's owner is alive.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::Error;

const MARKER_DIR: &str = "/run/weir-testkit";
/// Held while markers are claimed or swept, so that no marker is seen between its making and its locking.
const DIR_LOCK: &str = ".lock";

/// Six hexadecimal digits that tell the clusters of a machine apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterId(String);

/// A locked marker file.
#[derive(Debug)]
pub(crate) struct Marker {
    id: ClusterId,
    path: PathBuf,
    _locked: File,
}

/// All markers whose owner is dead, and the right to be the only one who looks.
#[derive(Debug)]
pub(crate) struct StaleMarkers {
    pub(crate) markers: Vec<Marker>,
    _dir_lock: File,
}

// === impl ClusterId ===

impl ClusterId {
    fn random() -> Self {
        // RandomState is seeded from the system's entropy.
        Self(format!(
            "{:06x}",
            RandomState::new().hash_one(0u8) & 0xff_ffff
        ))
    }

    /// The id a marker's file name gives, if it is one: nothing else may ever reach the code that removes.
    fn parse(name: &str) -> Option<Self> {
        let shaped =
            name.len() == 6 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        shaped.then(|| Self(name.to_owned()))
    }

    /// The name of one of the cluster's parts: `weir-<id>-<part>`.
    pub(crate) fn name_of(&self, part: &str) -> String {
        format!("weir-{}-{part}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Marker ===

impl Marker {
    /// Claims an id that no cluster has, alive or dead.
    pub(crate) fn claim() -> Result<Self, Error> {
        let _dir_lock = lock_dir()?;
        loop {
            let id = ClusterId::random();
            let path = Path::new(MARKER_DIR).join(&id.0);
            let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::path("create", &path)(error)),
            };
            file.lock().map_err(Error::path("lock", &path))?;
            writeln!(file, "pid {}", std::process::id()).map_err(Error::path("write", &path))?;
            return Ok(Self {
                id,
                path,
                _locked: file,
            });
        }
    }

    /// Takes over all markers whose owner is dead.
    pub(crate) fn stale() -> Result<StaleMarkers, Error> {
        let dir_lock = lock_dir()?;
        let mut markers = Vec::new();
        let entries = std::fs::read_dir(MARKER_DIR).map_err(Error::path("list", MARKER_DIR))?;
        for entry in entries {
            let path = entry.map_err(Error::path("list", MARKER_DIR))?.path();
            if let Some(marker) = Self::take_over(&path)? {
                markers.push(marker);
            }
        }
        Ok(StaleMarkers {
            markers,
            _dir_lock: dir_lock,
        })
    }

    fn take_over(path: &Path) -> Result<Option<Self>, Error> {
        let Some(id) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(ClusterId::parse)
        else {
            return Ok(None);
        };
        let file = match File::open(path) {
            Ok(file) => file,
            // Its owner has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::path("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                id,
                path: path.to_owned(),
                _locked: file,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::path("lock", path)(error)),
        }
    }

    pub(crate) fn id(&self) -> &ClusterId {
        &self.id
    }

    /// Removes the marker: the last step, after all that bears its id is gone.
    pub(crate) fn remove(self) -> Result<(), Error> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::path("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn lock_dir() -> Result<File, Error> {
    std::fs::create_dir_all(MARKER_DIR).map_err(Error::path("create", MARKER_DIR))?;
    let path = Path::new(MARKER_DIR).join(DIR_LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::path("open", &path))?;
    file.lock().map_err(Error::path("lock", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_hex_digits_are_an_id() {
        assert_eq!(
            ClusterId::parse("0fa31c"),
            Some(ClusterId("0fa31c".to_owned()))
        );
        for name in ["", ".lock", "..", "0fa31", "0FA31C", "0fa31cc", "0fa31/"] {
            assert_eq!(ClusterId::parse(name), None, "{name:?}");
        }
    }
}
