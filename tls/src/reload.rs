//! Something made of files, made again when they change.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tracing::{error, info};

use crate::TlsError;

/// How a thing is made of the files.
type Make<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// Something made of files. What is in force stays so until new files are good.
pub(crate) struct Reloaded<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    current: ArcSwap<T>,
    seen: Mutex<Seen>,
    /// New files that could not be used.
    pub(crate) failures: Counter,
}

struct Seen {
    stamps: Vec<Option<Stamp>>,
    /// What was last said of files that cannot be used.
    error: Option<String>,
}

/// What tells one version of a file from another; links, which secret mounts swap, are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl<T> Reloaded<T> {
    /// Makes it for the first time.
    pub(crate) fn load(files: Vec<PathBuf>, make: Make<T>) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps = stamps(&files);
        Ok(Self {
            current: ArcSwap::from_pointee(make()?),
            files,
            make,
            seen: Mutex::new(Seen {
                stamps,
                error: None,
            }),
            failures: Counter::default(),
        })
    }

    pub(crate) fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Makes it again if a file has changed. Files that cannot be used are told of once, and tried again.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps == seen.stamps && seen.error.is_none() {
            return;
        }
        match (self.make)() {
            Ok(made) => {
                self.current.store(Arc::new(made));
                seen.error = None;
                info!(files = %self.names(), "certificates taken up");
            }
            Err(failed) => {
                let text = failed.to_string();
                if stamps != seen.stamps || seen.error.as_ref() != Some(&text) {
                    self.failures.inc();
                    error!(error = %text, "new certificates cannot be used, the old ones stay in force");
                }
                seen.error = Some(text);
            }
        }
        seen.stamps = stamps;
    }

    fn names(&self) -> String {
        let names = self.files.iter().map(|path| path.display().to_string());
        names.collect::<Vec<_>>().join(", ")
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what was made of them: there is a key in it.
        f.debug_struct("Reloaded")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        })
    };
    files.iter().map(stamp).collect()
}
