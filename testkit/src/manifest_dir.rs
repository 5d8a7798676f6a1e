//! A directory of manifests, as a collector watches it.

use std::{
    fs::Permissions,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tempfile::{NamedTempFile, TempDir};

use crate::Error;

/// A directory of manifests, removed when the value is dropped.
#[derive(Debug)]
pub struct ManifestDir {
    dir: TempDir,
}

// === impl ManifestDir ===

impl ManifestDir {
    /// An empty directory in the system's place for temporary ones.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self, Error> {
        let dir = tempfile::Builder::new()
            .prefix("weir-manifests-")
            .tempdir()
            .map_err(Error::io("make", "a directory for manifests"))?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, or replaces it: a reader sees the old content or the new, never a part.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, file: &str, yaml: &str) -> Result<(), Error> {
        let path = self.path().join(file);
        let write = || -> io::Result<()> {
            // A name that begins with a dot is no manifest to whoever watches the directory.
            let mut temporary = NamedTempFile::with_prefix_in(".put-", self.path())?;
            temporary.write_all(yaml.as_bytes())?;
            temporary
                .as_file()
                .set_permissions(Permissions::from_mode(0o644))?;
            temporary.persist(&path)?;
            Ok(())
        };
        write().map_err(Error::path("write", &path))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// It does not exist or cannot be removed.
    pub fn remove(&self, file: &str) -> Result<(), Error> {
        let path = self.path().join(file);
        std::fs::remove_file(&path).map_err(Error::path("remove", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn putting_a_file_again_replaces_it_and_leaves_nothing_beside_it() {
        let dir = ManifestDir::new().unwrap();
        dir.put("a.yaml", "one").unwrap();
        dir.put("a.yaml", "two").unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("a.yaml")).unwrap(),
            "two"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        dir.remove("a.yaml").unwrap();
        assert!(dir.remove("a.yaml").is_err());
    }
}
