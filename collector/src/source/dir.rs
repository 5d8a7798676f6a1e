//! A directory of manifests: read whole, watched, read again when anything in it changes.
//!
//! Files are taken as `kubectl apply -f DIR` takes them: `.yaml`, `.yml` and `.json`, not recursively, in the order of
//! their names. Hidden entries are passed over, so that a mounted ConfigMap (`..data` and friends) is read once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// The most files a directory may hold.
const MAX_FILES: usize = 20_000;
/// The most bytes all files may hold together.
const MAX_BYTES: u64 = 512 << 20;
/// A burst of changes is taken as one when nothing happens for this long.
const QUIET: Duration = Duration::from_millis(20);
/// A directory that never falls quiet is read this often.
const LATEST: Duration = Duration::from_millis(200);
/// Also read without any event this often: some file systems (NFS, some overlays) report none.
const POLL: Duration = Duration::from_secs(10);

/// Why a directory cannot be read or watched.
#[derive(Debug, Error)]
pub enum DirError {
    /// The directory or a file in it cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file is not UTF-8.
    #[error("{}:{line}: not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line with the first wrong byte.
        line: usize,
    },
    /// Too many files or bytes.
    #[error("{}: more than {limit}", path.display())]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// The limit that was passed.
        limit: &'static str,
    },
    /// The watch could not be set up.
    #[error("cannot watch {}: {source}", path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: notify::Error,
    },
}

/// One manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its path, as diagnostics name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A watched directory.
pub struct ManifestDir {
    path: PathBuf,
    changes: mpsc::Receiver<()>,
    /// When a change was first heard of that has not been told.
    changed_at: Option<Instant>,
    _watcher: RecommendedWatcher,
}

impl ManifestDir {
    /// Begins to watch `path`.
    ///
    /// # Errors
    /// [`DirError::Read`] if it is no readable directory, [`DirError::Watch`] if it cannot be watched.
    pub fn watch(path: &Path) -> Result<Self, DirError> {
        fs::read_dir(path).map_err(|source| DirError::Read {
            path: path.to_owned(),
            source,
        })?;
        let (sender, changes) = mpsc::channel(1);
        let watch_error = |source| DirError::Watch {
            path: path.to_owned(),
            source,
        };
        let notice = move |event: notify::Result<notify::Event>| {
            // Our own reading is reported too, as an access.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // A full channel already holds the news that something changed.
                let _already_told = sender.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(notice).map_err(watch_error)?;
        watcher
            .watch(path, RecursiveMode::NonRecursive)
            .map_err(watch_error)?;
        Ok(Self {
            path: path.to_owned(),
            changes,
            changed_at: None,
            _watcher: watcher,
        })
    }

    /// Waits until something in the directory may have changed and has been quiet for a moment. Without any event it
    /// returns after ten seconds all the same: the caller compares with what it has. What was heard when this is dropped
    /// is told by the next call.
    pub async fn changed(&mut self) {
        let poll = Instant::now() + POLL;
        if self.changed_at.is_none() {
            let heard = timeout_at(poll, self.changes.recv()).await.is_ok();
            self.changed_at = heard.then(Instant::now);
        }
        let Some(since) = self.changed_at else {
            return;
        };
        let latest = since + LATEST;
        while Instant::now() < latest {
            let quiet = (Instant::now() + QUIET).min(latest);
            if timeout_at(quiet, self.changes.recv()).await.is_err() {
                break;
            }
        }
        self.changed_at = None;
    }

    /// Reads all manifests.
    ///
    /// # Errors
    /// [`DirError`], naming the file; nothing is returned in part.
    pub fn read(&self) -> Result<Vec<ManifestFile>, DirError> {
        read(&self.path)
    }
}

fn read(dir: &Path) -> Result<Vec<ManifestFile>, DirError> {
    let read_error = |path: &Path| {
        let path = path.to_owned();
        move |source| DirError::Read { path, source }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(read_error(dir))? {
        let path = entry.map_err(read_error(dir))?.path();
        if is_manifest(&path) {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(DirError::TooLarge {
                path: dir.to_owned(),
                limit: "20000 files",
            });
        }
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    let mut total = 0;
    for path in paths {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Replaced or removed between the listing and now: the watch tells, and the next reading has it right.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(DirError::Read { path, source }),
        };
        total += bytes.len() as u64;
        if total > MAX_BYTES {
            return Err(DirError::TooLarge {
                path: dir.to_owned(),
                limit: "512 MiB",
            });
        }
        files.push(ManifestFile {
            name: path.display().to_string(),
            text: text(path, bytes)?,
        });
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path
        .extension()
        .is_some_and(|extension| matches!(extension.to_str(), Some("yaml" | "yml" | "json")));
    !hidden && known && !path.is_dir()
}

fn text(path: PathBuf, bytes: Vec<u8>) -> Result<String, DirError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        DirError::NotText {
            path,
            line: 1 + valid.iter().filter(|byte| **byte == b'\n').count(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["b.yaml", "a.yml", "c.json", "notes.txt", ".hidden.yaml"] {
            fs::write(dir.path().join(name), name).expect("write");
        }
        fs::create_dir(dir.path().join("sub.yaml")).expect("directory");
        let files = read(dir.path()).expect("readable");
        let texts: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["a.yml", "b.yaml", "c.json"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("bad.yaml"), b"a: 1\nb: \xff\n").expect("write");
        let error = read(dir.path()).expect_err("not UTF-8").to_string();
        assert!(error.ends_with("bad.yaml:2: not UTF-8 text"), "{error}");
    }

    #[tokio::test]
    async fn a_change_is_noticed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut watched = ManifestDir::watch(dir.path()).expect("watchable");
        fs::write(dir.path().join("a.yaml"), "x: 1").expect("write");
        watched.changed().await;
        assert_eq!(watched.read().expect("readable").len(), 1);
    }

    #[tokio::test]
    async fn a_change_is_not_forgotten_by_a_wait_that_was_given_up() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut watched = ManifestDir::watch(dir.path()).expect("watchable");
        fs::write(dir.path().join("a.yaml"), "x: 1").expect("write");
        while watched.changed_at.is_none() {
            let wait = Duration::from_millis(5);
            tokio::time::timeout(wait, watched.changed()).await.ok();
        }
        let told = tokio::time::timeout(POLL / 2, watched.changed()).await;
        assert!(told.is_ok(), "only by looking without an event");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = ManifestDir::watch(Path::new("/nonexistent/weir"))
            .err()
            .expect("missing")
            .to_string();
        assert!(
            error.starts_with("cannot read /nonexistent/weir: "),
            "{error}"
        );
    }
}
