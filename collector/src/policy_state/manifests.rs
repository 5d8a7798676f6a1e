//! The manifest directory as states of the cluster: a good one, none because nothing changed, or a refusal.

use std::fmt;
use std::path::Path;

use weir_policy::manifest::{self, Diagnostic};
use weir_policy::model::Cluster;

use crate::source::{DirError, ManifestDir, ManifestFile};

/// The most findings that a refusal spells out.
const MAX_FINDINGS: usize = 10;

/// Why the manifests are not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The directory.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// What is in it.
    #[error("{0}")]
    Manifests(Findings),
}

/// Errors in manifests, each with file, line and column.
#[derive(Debug)]
pub struct Findings(Vec<Diagnostic>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().take(MAX_FINDINGS).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{finding}")?;
        }
        match self.0.len().saturating_sub(MAX_FINDINGS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more errors"),
        }
    }
}

/// The directory, watched.
pub(super) struct Manifests {
    dir: ManifestDir,
    /// What was read last, taken or refused.
    files: Option<Vec<ManifestFile>>,
}

impl Manifests {
    /// Begins to watch.
    ///
    /// # Errors
    /// [`DirError`] if it is no readable directory.
    pub(super) fn watch(path: &Path) -> Result<Self, DirError> {
        Ok(Self {
            dir: ManifestDir::watch(path)?,
            files: None,
        })
    }

    /// Waits for a change, or for the time to look without one.
    pub(super) async fn changed(&mut self) {
        self.dir.changed().await;
    }

    /// Reads the directory. `None` if it is as it was last time.
    ///
    /// # Errors
    /// [`Refusal`]; nothing of it is to be used.
    pub(super) fn read(&mut self) -> Result<Option<Cluster>, Refusal> {
        let files = self.dir.read()?;
        if self.files.as_ref() == Some(&files) {
            return Ok(None);
        }
        let loaded = manifest::load(files.iter().map(|file| (&file.name, &file.text)));
        self.files = Some(files);
        if loaded.has_errors() {
            let errors = loaded.errors().cloned().collect();
            return Err(Refusal::Manifests(Findings(errors)));
        }
        Ok(Some(loaded.cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";
    const BAD: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: shop\nspec:\n  podSelector: {}\n  ingres: []\n";

    #[test]
    fn a_broken_file_is_refused_with_its_place_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), GOOD).unwrap();
        let mut manifests = Manifests::watch(dir.path()).unwrap();
        assert_eq!(manifests.read().unwrap().unwrap().namespaces.len(), 1);
        assert!(manifests.read().unwrap().is_none());
        std::fs::write(dir.path().join("b.yaml"), BAD).unwrap();
        let error = manifests.read().unwrap_err().to_string();
        assert!(error.contains("b.yaml:8:3: error: "), "{error}");
        assert!(manifests.read().unwrap().is_none(), "said once");
        std::fs::remove_file(dir.path().join("b.yaml")).unwrap();
        assert!(manifests.read().unwrap().is_some());
    }
}
