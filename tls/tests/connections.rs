//! Who gets through to whom, over real connections.

mod common;

use std::time::{Duration, Instant};

use common::{Authority, PATIENCE, ask, files, serve, server, target};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use weir_tls::{ClientFiles, Target};

#[tokio::test]
async fn both_sides_prove_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let identity = ca.issue(directory.path(), "server");
    let client = ca.issue(directory.path(), "client");
    let address = serve(Some(server(&identity, Some(&ca)))).await;
    ask(&target(address, files(&ca, Some(&client))))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_without_a_certificate_or_with_a_foreign_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let foreign = Authority::new(directory.path(), "foreign");
    let identity = ca.issue(directory.path(), "server");
    let stranger = foreign.issue(directory.path(), "stranger");
    let address = serve(Some(server(&identity, Some(&ca)))).await;
    let error = ask(&target(address, files(&ca, None))).await.unwrap_err();
    assert!(error.contains("wants a client certificate"), "{error}");
    let error = ask(&target(address, files(&ca, Some(&stranger)))).await;
    let error = error.unwrap_err();
    assert!(error.contains("does not trust the CA"), "{error}");
}

#[tokio::test]
async fn without_a_client_ca_everybody_is_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let identity = ca.issue(directory.path(), "server");
    let address = serve(Some(server(&identity, None))).await;
    ask(&target(address, files(&ca, None))).await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_ca_or_another_name_is_not_talked_to() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let foreign = Authority::new(directory.path(), "foreign");
    let identity = ca.issue(directory.path(), "server");
    let address = serve(Some(server(&identity, None))).await;
    let error = ask(&target(address, files(&foreign, None))).await;
    let error = error.unwrap_err();
    assert!(error.contains("a CA that is not trusted here"), "{error}");
    let named = |name: &str| ClientFiles {
        server_name: Some(name.to_owned()),
        ..files(&ca, None)
    };
    let error = ask(&target(address, named("other.example"))).await;
    let error = error.unwrap_err();
    assert!(
        error.contains("other.example") && error.contains("localhost"),
        "{error}"
    );
    // An address that the certificate does not have, with the name that it has.
    let url = format!("https://{address}");
    let by_address = Target::new(&url, Some(named("localhost")), |endpoint| endpoint);
    ask(&by_address.unwrap()).await.unwrap();
    let by_address = Target::new(&url, Some(files(&ca, None)), |endpoint| endpoint);
    let error = ask(&by_address.unwrap()).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn plain_text_and_tls_that_meet_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let identity = ca.issue(directory.path(), "server");
    let encrypted = serve(Some(server(&identity, None))).await;
    let plain = Target::new(&format!("http://{encrypted}"), None, |endpoint| endpoint);
    let error = ask(&plain.unwrap()).await.unwrap_err();
    assert!(error.contains("the server speaks TLS"), "{error}");
    let open = serve(None).await;
    let error = ask(&target(open, files(&ca, None))).await.unwrap_err();
    assert!(error.contains("does not speak TLS"), "{error}");
    let plain = Target::new(&format!("http://{open}"), None, |endpoint| endpoint);
    ask(&plain.unwrap()).await.unwrap();
}

/// More than there may be handshakes at once say nothing: who speaks is served once they are given up.
#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_the_door() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let identity = ca.issue(directory.path(), "server");
    let address = serve(Some(server(&identity, None))).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let target = target(address, files(&ca, None));
    let asked = tokio::time::timeout(PATIENCE, ask(&target)).await;
    asked.unwrap().unwrap();
    let first = &mut silent[0];
    let ended = tokio::time::timeout(PATIENCE, first.read(&mut [0; 16])).await;
    assert_eq!(ended.unwrap().unwrap_or(0), 0, "it is ended");
}

/// Certificates of both sides and the CAs of both change under a running server.
#[tokio::test]
async fn renewed_certificates_and_cas_are_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca");
    let identity = ca.issue(directory.path(), "server");
    let client = ca.issue(directory.path(), "client");
    let address = serve(Some(server(&identity, Some(&ca)))).await;
    let target = target(address, files(&ca, Some(&client)));
    ask(&target).await.unwrap();
    // Everything of another CA, in the same files.
    let renewed = Authority::new(directory.path(), "ca");
    renewed.issue(directory.path(), "server");
    renewed.issue(directory.path(), "client");
    let began = Instant::now();
    while let Err(error) = ask(&target).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The old CA is no longer trusted.
    let old = ca.issue(directory.path(), "old");
    let error = ask(&self::target(address, files(&renewed, Some(&old)))).await;
    let error = error.unwrap_err();
    assert!(error.contains("does not trust the CA"), "{error}");
}
