//! Files that cannot be used: each is named with what is wrong, and changes nothing.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Authority, PATIENCE, ask, files, serve, server, target};
use prometheus_registry::reload_failures;
use weir_tls::{ClientFiles, IdentityFiles, ServerFiles, Target};

/// Reading counters back.
mod prometheus_registry {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use weir_tls::ServerTls;

    pub(crate) fn reload_failures(tls: &ServerTls) -> u64 {
        let mut registry = Registry::default();
        tls.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("tls_reload_failures_total "));
        value.expect("the counter").parse().expect("a number")
    }
}

fn load(identity: &IdentityFiles, client_ca: Option<PathBuf>) -> Result<(), String> {
    let files = ServerFiles {
        identity: identity.clone(),
        client_ca,
    };
    files.load().map(drop).map_err(|error| error.to_string())
}

fn refused(identity: &IdentityFiles, file: &Path, why: &str) {
    let error = load(identity, None).expect_err(why);
    assert!(
        error.contains(&file.display().to_string()) && error.contains(why),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let good = ca.issue(directory.path(), "good");
    let other = ca.issue(directory.path(), "other");
    load(&good, Some(ca.file.clone())).unwrap();
    let missing = directory.path().join("missing");
    let with_certificate = |certificate: &Path| IdentityFiles {
        certificate: certificate.to_owned(),
        ..good.clone()
    };
    let with_key = |key: &Path| IdentityFiles {
        key: key.to_owned(),
        ..good.clone()
    };
    refused(&with_certificate(&missing), &missing, "No such file");
    refused(
        &with_certificate(&good.key),
        &good.key,
        "no certificate in it",
    );
    refused(&with_key(&missing), &missing, "No such file");
    refused(
        &with_key(&good.certificate),
        &good.certificate,
        "no private key",
    );
    refused(&with_key(&other.key), &other.key, "is not the key of");
    let damaged = directory.path().join("damaged");
    let text = fs::read_to_string(&good.certificate).unwrap();
    fs::write(&damaged, text.replace("-----END", "-----AND")).unwrap();
    refused(&with_certificate(&damaged), &damaged, "damaged PEM");
    fs::write(&damaged, pem_of("CERTIFICATE", "bm8gREVS")).unwrap();
    refused(&with_certificate(&damaged), &damaged, "cannot be read");
    fs::write(&damaged, pem_of("PRIVATE KEY", "bm8gREVS")).unwrap();
    refused(&with_key(&damaged), &damaged, "key that cannot be used");
    let error = load(&good, Some(good.key.clone())).unwrap_err();
    assert!(error.contains("no certificate in it"), "{error}");
}

fn pem_of(label: &str, base64: &str) -> String {
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

#[test]
fn addresses_say_whether_they_are_encrypted() {
    let new = |url: &str, files: Option<ClientFiles>| {
        let target = Target::new(url, files, |endpoint| endpoint);
        target.map(drop).map_err(|error| error.to_string())
    };
    new("http://localhost:1", None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    new("https://[::1]:1", Some(files(&ca, None))).unwrap();
    let error = new("http://localhost:1", Some(files(&ca, None))).unwrap_err();
    assert!(error.contains("expected https://"), "{error}");
    for wrong in ["localhost:1", "ftp://localhost:1", "/etc/passwd", ""] {
        let error = new(wrong, None).unwrap_err();
        assert!(
            error.contains(wrong) && error.contains("is no address"),
            "{error}"
        );
    }
    let named = ClientFiles {
        server_name: Some("not a name".to_owned()),
        ..files(&ca, None)
    };
    let error = new("https://localhost:1", Some(named)).unwrap_err();
    assert!(error.contains("not a name"), "{error}");
}

#[tokio::test]
async fn a_bad_new_file_leaves_the_old_certificate_in_force_and_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let identity = ca.issue(directory.path(), "server");
    let tls = server(&identity, None);
    let address = serve(Some(tls.clone())).await;
    let target = target(address, files(&ca, None));
    let key = fs::read(&identity.key).unwrap();
    fs::write(&identity.key, "nothing").unwrap();
    let began = Instant::now();
    while reload_failures(&tls) == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(reload_failures(&tls), 1, "one bad file, looked at often");
    ask(&target).await.unwrap();
    // As it was: good again.
    fs::write(&identity.key, key).unwrap();
    ask(&target).await.unwrap();
}

#[tokio::test]
async fn an_expired_certificate_is_used_and_the_other_side_says_that_it_has_expired() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let identity = ca.issue_with(directory.path(), "server", params);
    let address = serve(Some(server(&identity, None))).await;
    let error = ask(&target(address, files(&ca, None))).await.unwrap_err();
    assert!(error.contains("expired"), "{error}");
}
