//! The manifest directory as a source: whole states of it, made into changes. A state with an error is refused as a
//! whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tracing::error;
use weir_policy::manifest::{self, Diagnostic};
use weir_policy::model::{Cluster, ObjectChange};

use super::{Batch, DirError, ManifestDir, ManifestFile};

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
pub struct Manifests {
    dir: ManifestDir,
    /// What was read last, taken or refused.
    files: Vec<ManifestFile>,
    /// What was taken last.
    cluster: Cluster,
    refused: Option<Arc<str>>,
    handed_on: HandedOn,
}

/// What the reader of the batches knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandedOn {
    Nothing,
    Cluster,
}

impl Manifests {
    /// Begins to watch, and reads for the first time.
    ///
    /// # Errors
    /// [`Refusal`] names file, line and column of what is wrong.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let dir = ManifestDir::watch(path)?;
        let files = dir.read()?;
        Ok(Self {
            dir,
            cluster: load(&files)?,
            files,
            refused: None,
            handed_on: HandedOn::Nothing,
        })
    }

    /// What was taken last.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Waits for the next changes, or refusal.
    pub(super) async fn next(&mut self) -> Batch {
        if self.handed_on == HandedOn::Nothing {
            self.handed_on = HandedOn::Cluster;
            let all = Cluster::default().changes_to(&self.cluster);
            return self.batch(all);
        }
        loop {
            self.dir.changed().await;
            if let Some(batch) = self.look() {
                return batch;
            }
        }
    }

    /// Reads the directory. None if it is as it was, or refused for the same reason.
    fn look(&mut self) -> Option<Batch> {
        match self.read() {
            Ok(None) => None,
            Ok(Some(cluster)) => {
                let changes = self.cluster.changes_to(&cluster);
                self.cluster = cluster;
                self.refused = None;
                Some(self.batch(changes))
            }
            Err(refusal) => {
                let text: Arc<str> = refusal.to_string().into();
                if self.refused.as_ref() == Some(&text) {
                    return None;
                }
                error!("manifests refused, the last good state stays in force: {text}");
                self.refused = Some(text);
                Some(self.batch(Vec::new()))
            }
        }
    }

    fn read(&mut self) -> Result<Option<Cluster>, Refusal> {
        let files = self.dir.read()?;
        if self.files == files {
            return Ok(None);
        }
        let loaded = load(&files);
        self.files = files;
        loaded.map(Some)
    }

    fn batch(&self, changes: Vec<ObjectChange>) -> Batch {
        Batch {
            changes,
            since: Instant::now(),
            refused: self.refused.clone(),
        }
    }
}

fn load(files: &[ManifestFile]) -> Result<Cluster, Refusal> {
    let loaded = manifest::load(files.iter().map(|file| (&file.name, &file.text)));
    if loaded.has_errors() {
        let errors = loaded.errors().cloned().collect();
        return Err(Refusal::Manifests(Findings(errors)));
    }
    Ok(loaded.cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";
    const BAD: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: shop\nspec:\n  podSelector: {}\n  ingres: []\n";

    #[tokio::test]
    async fn a_broken_file_is_refused_with_its_place_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), GOOD).unwrap();
        let mut manifests = Manifests::open(dir.path()).unwrap();
        assert_eq!(manifests.next().await.changes.len(), 1);
        assert!(manifests.look().is_none());
        std::fs::write(dir.path().join("b.yaml"), BAD).unwrap();
        let refused = manifests.look().unwrap();
        assert!(refused.changes.is_empty());
        let text = refused.refused.unwrap();
        assert!(text.contains("b.yaml:8:3: error: "), "{text}");
        assert!(manifests.look().is_none(), "said once");
        std::fs::remove_file(dir.path().join("b.yaml")).unwrap();
        let good = manifests.look().unwrap();
        assert!(good.changes.is_empty() && good.refused.is_none());
    }

    #[test]
    fn a_collector_does_not_start_on_broken_manifests() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.yaml"), BAD).unwrap();
        let error = Manifests::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("b.yaml:8:3: error: "), "{error}");
    }
}
