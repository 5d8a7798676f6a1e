//! The state directory: small files that must survive a restart, replaced whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where what must survive a restart is kept.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// A state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("{doing} {}: {source}", .path.display())]
    File {
        /// `creating`, `writing`, …
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The contents are not ours.
    #[error("state file {} is damaged: {source}; remove it to start afresh", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl StateDir {
    /// Opens the directory, creating it if need be.
    ///
    /// # Errors
    ///
    /// [`StateError::File`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|source| file_error("creating", &path, source))?;
        Ok(Self { path })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces a file. When this returns the new contents are on disk; whenever it stops, either the old or the new
    /// contents are.
    ///
    /// # Errors
    ///
    /// [`StateError::File`]; the old contents stay.
    pub fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let text = serde_json::to_vec(value);
        let text =
            text.map_err(|error| file_error("writing", &self.path.join(name), error.into()))?;
        self.save_bytes(name, &text)
    }

    /// The same with the contents as they are.
    ///
    /// # Errors
    ///
    /// [`StateError::File`]; the old contents stay.
    pub fn save_bytes(&self, name: &str, text: &[u8]) -> Result<(), StateError> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| file_error("writing", &path, source))
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let path = self.path.join(name);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| file_error("reading", &path, source))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| StateError::Damaged { path, source })
    }
}

fn file_error(doing: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_value_is_read_back_and_an_absent_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path().join("weir")).unwrap();
        assert_eq!(state.load::<Vec<u32>>("numbers.json").unwrap(), None);
        state.save("numbers.json", &[1_u32, 2]).unwrap();
        state.save("numbers.json", &[1_u32, 2, 3]).unwrap();
        assert_eq!(
            state.load::<Vec<u32>>("numbers.json").unwrap(),
            Some(vec![1, 2, 3])
        );
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        fs::write(directory.path().join("numbers.json"), "[1, 2").unwrap();
        let error = state
            .load::<Vec<u32>>("numbers.json")
            .unwrap_err()
            .to_string();
        assert!(error.contains("numbers.json is damaged"), "{error}");
    }
}
