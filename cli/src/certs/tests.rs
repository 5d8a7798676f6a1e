//! Certificates of a directory, through their lives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::bundle::Flaw;
use super::directory::Directory;
use super::{CertsError, Done, Line, ServerNames, Store, keep, report};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn keep_in(
    directory: &Path,
    names: &[String],
    now: SystemTime,
) -> Result<Vec<Line>, CertsError> {
    let store = Store::Directory(Directory::new(directory));
    keep(&store, &ServerNames::new("weir", names), now).await
}

async fn done(directory: &Path, now: SystemTime) -> Vec<Done> {
    let lines = keep_in(directory, &[], now).await.unwrap();
    lines.into_iter().map(|line| line.done).collect()
}

/// All files by their paths, links followed.
fn contents(directory: &Path) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    for role in ["ca", "aggregator", "collector", "client"] {
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            let name = format!("{role}/{file}");
            let text = fs::read_to_string(directory.join(&name)).unwrap();
            contents.insert(name, text);
        }
    }
    contents
}

#[tokio::test]
async fn they_are_made_once_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("certs");
    let now = SystemTime::now();
    assert_eq!(done(&path, now).await, vec![Done::Made; 4]);
    let made = contents(&path);
    assert_eq!(done(&path, now + DAY).await, vec![Done::Kept; 4]);
    assert_eq!(contents(&path), made);
    for role in ["ca", "aggregator", "collector", "client"] {
        assert_eq!(made[&format!("{role}/ca.crt")], made["ca/tls.crt"]);
        let key = fs::metadata(path.join(role).join("tls.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
    let entries = fs::read_dir(&path).unwrap().count();
    assert_eq!(entries, 8, "four links and what they lead to");
}

#[tokio::test]
async fn past_two_thirds_of_its_life_a_certificate_is_renewed_and_the_ca_kept() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    done(directory.path(), now).await;
    let old = contents(directory.path());
    assert_eq!(
        done(directory.path(), now + DAY * 240).await,
        vec![Done::Kept; 4]
    );
    let lines = keep_in(directory.path(), &[], now + DAY * 245)
        .await
        .unwrap();
    let renewed = Done::Renewed(Flaw::Old);
    let expected = [&Done::Kept, &renewed, &renewed, &renewed];
    assert!(
        lines.iter().map(|line| &line.done).eq(expected),
        "{lines:?}"
    );
    assert!(report(&lines).contains("weir-client-tls: renewed: it was past two thirds"));
    let new = contents(directory.path());
    for (name, text) in &new {
        let is_kept = name.starts_with("ca/") || name.ends_with("/ca.crt");
        assert_eq!(*text == old[name], is_kept, "{name}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 8);
}

#[tokio::test]
async fn a_certificate_that_is_damaged_or_of_another_ca_or_name_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, now) = (directory.path(), SystemTime::now());
    done(path, now).await;
    // The key of another: as if only one of two files had been copied.
    fs::copy(path.join("client/tls.key"), path.join("collector/tls.key")).unwrap();
    fs::remove_file(path.join("client/tls.crt")).unwrap();
    let damaged = Done::Renewed(Flaw::Damaged);
    let expected = vec![Done::Kept, Done::Kept, damaged.clone(), damaged];
    assert_eq!(done(path, now).await, expected);
    let lines = keep_in(path, &["192.0.2.1".to_owned()], now).await.unwrap();
    assert_eq!(lines[1].done, Done::Renewed(Flaw::OtherNames));
    let lines = keep_in(path, &["192.0.2.1".to_owned()], now).await.unwrap();
    assert_eq!(lines[1].done, Done::Kept);
    fs::remove_file(path.join("ca")).unwrap();
    let other = Done::Renewed(Flaw::OtherAuthority);
    let expected = vec![Done::Made, other.clone(), other.clone(), other];
    assert_eq!(done(path, now).await, expected);
}

#[tokio::test]
async fn a_ca_that_cannot_be_used_is_an_error_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, now) = (directory.path(), SystemTime::now());
    done(path, now).await;
    let error = keep_in(path, &[], now + DAY * 3651).await.unwrap_err();
    assert!(error.to_string().contains("it has expired"), "{error}");
    fs::write(path.join("ca/tls.key"), "nothing").unwrap();
    let before = contents(path);
    let error = keep_in(path, &[], now + DAY * 300).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("/ca cannot be used: tls.crt or tls.key is damaged"),
        "{error}"
    );
    assert_eq!(contents(path), before);
}

#[tokio::test]
async fn a_name_that_is_none_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["größer".to_owned()];
    let error = keep_in(directory.path(), &names, SystemTime::now()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("weir-aggregator"), "{error}");
}
