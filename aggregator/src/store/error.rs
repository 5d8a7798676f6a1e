//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use weir_flow::columns::ColumnsError;

/// The store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, e.g. `writing`.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another aggregator works on the data directory.
    #[error("{}: in use by another aggregator", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file is not what its name says, or is damaged.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A batch could not be read or put together.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    /// Writing or reading Parquet failed.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Sorting or cutting batches failed.
    #[error("arranging rows: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// For `map_err` behind a file operation.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
