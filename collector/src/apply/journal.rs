//! The catalogue on disk: what every number means that the kernel may hold, and which policy revision each epoch was.
//!
//! `catalogue.jsonl` in the state directory, a line for each change. A line with new numbers is on disk before the
//! kernel gets one of them, so that an entry of the flow table can be named after any crash. What a crash left of a last
//! line is dropped: nothing refers to it yet. Now and then the file is written anew in short.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_policy::compile::{Catalogue, Mark, Stored};

use crate::names::Revisions;
use crate::state::{StateDir, StateError};

const FILE: &str = "catalogue.jsonl";
/// The file is written anew when so much was added, or as much as it had before.
const MIN_ADDED: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// New numbers, for this revision.
    Added(u64, Stored),
    /// By this epoch, this revision came into force.
    InForce(u32, u64),
}

/// What an earlier run left.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// What numbers mean.
    pub catalogue: Catalogue,
    /// Policy revisions by epoch.
    pub revisions: Revisions,
    /// The last revision that was about to come into force: that of an epoch which `revisions` does not have.
    pub last_revision: u64,
}

/// Writes the file.
#[derive(Debug)]
pub struct Journal {
    state: StateDir,
    path: PathBuf,
    file: File,
    mark: Mark,
    revisions: Revisions,
    /// Bytes that it had when it was written anew, and that were added since.
    base: usize,
    added: usize,
}

impl Journal {
    /// Reads what is there, and writes it anew in short.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn open(state: &StateDir) -> Result<(Self, Restored), StateError> {
        let path = state.path().join(FILE);
        let restored = read(&path)?;
        let (file, base) = rewrite(
            state,
            &restored.catalogue,
            restored.last_revision,
            &restored.revisions,
        )?;
        let journal = Self {
            state: state.clone(),
            path,
            file,
            mark: restored.catalogue.mark(),
            revisions: restored.revisions.clone(),
            base,
            added: 0,
        };
        Ok((journal, restored))
    }

    /// Has what is new in the catalogue on disk. To be called before a revision's update is applied. A new revision
    /// alone is written, but not waited for: it must survive this process, and after a crash of the machine the kernel
    /// has no numbers any more.
    ///
    /// # Errors
    ///
    /// [`StateError::File`]; the update must not be applied then.
    pub fn record(&mut self, catalogue: &Catalogue, revision: u64) -> Result<(), StateError> {
        let mark = catalogue.mark();
        if mark == self.mark {
            return Ok(());
        }
        if self.added > self.base.max(MIN_ADDED) {
            let written = rewrite(&self.state, catalogue, revision, &self.revisions)?;
            (self.file, self.base, self.added) = (written.0, written.1, 0);
            self.mark = mark;
            return Ok(());
        }
        self.append(&Line::Added(revision, catalogue.added(self.mark)))?;
        let numbers = Mark {
            revision: self.mark.revision,
            ..mark
        };
        if numbers != self.mark {
            self.file
                .sync_data()
                .map_err(|source| failed("writing", &self.path, source))?;
        }
        self.mark = mark;
        Ok(())
    }

    /// Remembers which revision an epoch is. To be called after the update was applied; a crash in between costs
    /// nothing, for the last recorded revision is then the epoch's.
    ///
    /// # Errors
    ///
    /// [`StateError::File`].
    pub fn in_force(&mut self, epoch: u32, revision: u64) -> Result<(), StateError> {
        self.revisions.put(epoch, revision);
        self.append(&Line::InForce(epoch, revision))
    }

    fn append(&mut self, line: &Line) -> Result<(), StateError> {
        let mut text = Vec::new();
        let written = encode(&mut text, line).and_then(|()| self.file.write_all(&text));
        self.added += text.len();
        written.map_err(|source| failed("writing", &self.path, source))
    }
}

/// Writes the file anew, and opens it to go on. Says how long it is.
fn rewrite(
    state: &StateDir,
    catalogue: &Catalogue,
    revision: u64,
    revisions: &Revisions,
) -> Result<(File, usize), StateError> {
    let path = state.path().join(FILE);
    let first = Line::Added(revision, catalogue.clone().into());
    let epochs = revisions
        .iter()
        .map(|(epoch, revision)| Line::InForce(epoch, revision));
    let mut text = Vec::new();
    for line in std::iter::once(first).chain(epochs) {
        encode(&mut text, &line).map_err(|source| failed("writing", &path, source))?;
    }
    state.save_bytes(FILE, &text)?;
    let file = OpenOptions::new().append(true).open(&path);
    let file = file.map_err(|source| failed("opening", &path, source))?;
    Ok((file, text.len()))
}

fn encode(text: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

fn read(path: &Path) -> Result<Restored, StateError> {
    let mut restored = Restored::default();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(restored),
        other => other.map_err(|source| failed("reading", path, source))?,
    };
    let mut lines = BufReader::new(file).lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.map_err(|source| failed("reading", path, source))?;
        match serde_json::from_str(&line) {
            Ok(Line::Added(revision, added)) => {
                restored.catalogue.extend(added);
                restored.last_revision = revision;
            }
            Ok(Line::InForce(epoch, revision)) => {
                restored.revisions.put(epoch, revision);
                restored.last_revision = restored.last_revision.max(revision);
            }
            Err(_) if lines.peek().is_none() => {} // torn by a crash: no number in it has reached the kernel
            Err(source) => {
                return Err(StateError::Damaged {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(restored)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::compile::{RuleEntry, SetEntry};
    use weir_policy::model::{Direction, Name};
    use weir_policy::tables::{RuleId, SetId};

    use super::*;

    fn catalogue(rules: u32) -> Catalogue {
        let mut stored = Stored::default();
        for id in 0..rules {
            let entry = RuleEntry {
                policy: Name::new("shop", "p"),
                direction: Direction::Ingress,
                index: id,
            };
            stored.rules.insert(RuleId(64 + id), entry);
        }
        let set = SetEntry {
            direction: Direction::Egress,
            policies: vec![],
            ports: vec![],
            hairpin: vec![],
        };
        stored.sets.insert(SetId(16), set);
        stored.next.rule = RuleId(64 + rules);
        stored.next.set = SetId(17);
        stored.into()
    }

    #[test]
    fn numbers_and_revisions_are_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let (mut journal, restored) = Journal::open(&state).unwrap();
        assert!(restored.catalogue.is_empty());
        journal.record(&catalogue(1), 1).unwrap();
        journal.in_force(1, 1).unwrap();
        journal.record(&catalogue(3), 2).unwrap();
        for _ in 0..2 {
            let (_, restored) = Journal::open(&state).unwrap();
            assert_eq!(
                restored.catalogue.rule(RuleId(66)).map(|rule| rule.index),
                Some(2)
            );
            assert_eq!(restored.catalogue.mark(), catalogue(3).mark());
            assert_eq!(restored.revisions, Revisions::from_iter([(1, 1)]));
            assert_eq!(
                restored.last_revision, 2,
                "about to come into force when it stopped"
            );
        }
    }

    #[test]
    fn the_file_stays_short_however_often_policies_change() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let (mut journal, _) = Journal::open(&state).unwrap();
        for revision in 1..=30_000_u32 {
            let mut stored: Stored = catalogue(3).into();
            stored.next.revision = revision.into();
            journal.record(&stored.into(), revision.into()).unwrap();
            journal.in_force(revision, revision.into()).unwrap();
        }
        let length = std::fs::metadata(directory.path().join(FILE))
            .unwrap()
            .len();
        assert!(length < 3 * MIN_ADDED as u64, "{length} bytes");
        let (_, restored) = Journal::open(&state).unwrap();
        assert_eq!(restored.catalogue.mark().revision, 30_000);
        assert_eq!(restored.revisions.get(12_345), Some(12_345));
        assert_eq!(restored.last_revision, 30_000);
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_a_damaged_one_before_it_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let (mut journal, _) = Journal::open(&state).unwrap();
        journal.record(&catalogue(1), 1).unwrap();
        let path = directory.path().join(FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"added\":[2,{{\"rul")).unwrap();
        let (_, restored) = Journal::open(&state).unwrap();
        assert_eq!(restored.catalogue.mark(), catalogue(1).mark());
        std::fs::write(&path, format!("{{\"added\":[2\n{whole}")).unwrap();
        let error = Journal::open(&state).unwrap_err().to_string();
        assert!(error.contains("catalogue.jsonl is damaged"), "{error}");
    }
}
