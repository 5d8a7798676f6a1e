//! The real binary with TLS: certificates by `weir certs init`, an aggregator that serves with them, clients that ask.

mod common;

use std::path::Path;

use common::{PATIENCE, certs, run, weir};
use weir_testkit::RunningProcess;

/// An aggregator that wants client certificates, and where it listens.
fn aggregator(directory: &Path, certificates: &Path) -> (RunningProcess, String) {
    let mut command = std::process::Command::new(weir());
    let identity = certificates.join("aggregator");
    command
        .arg("aggregator")
        .arg(format!("--data-dir={}", directory.join("data").display()))
        .args(["--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"])
        .args(certs::listener(&identity));
    let mut process =
        RunningProcess::spawn(command, &directory.join("aggregator.log")).expect("started");
    let ready = process.wait_for_line("ready", PATIENCE).expect("ready");
    let (_, port) = ready.rsplit_once("127.0.0.1:").expect("its address");
    (process, format!("localhost:{}", port.trim()))
}

fn made(directory: &Path, name: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    certs::make(&path, &[]);
    path
}

/// Exit code and stdout or, if it fails, the one line of stderr.
fn ask(command: &str, server: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut args = vec![command, "--server", server];
    args.extend(more);
    let output = run(&args);
    let code = output.status.code();
    if code == Some(0) {
        return (code, String::from_utf8(output.stdout).expect("text"));
    }
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(error.lines().count(), 1, "{error}");
    (code, error)
}

#[test]
fn who_has_a_certificate_is_answered_and_others_are_told_why_not() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let certificates = made(directory.path(), "certs");
    let (mut process, address) = aggregator(directory.path(), &certificates);
    let [ca, certificate, key] = certs::client(&certificates);
    let all = [&ca, &certificate, &key].map(String::as_str);
    let encrypted = format!("tls://{address}");
    let (code, status) = ask("status", &encrypted, &all);
    assert_eq!(code, Some(0), "{status}");
    assert!(status.contains("aggregator:"), "{status}");
    let (code, flows) = ask("observe", &encrypted, &all);
    assert_eq!(code, Some(0), "{flows}");
    let with_flag = [all.as_slice(), &["--tls"]].concat();
    assert_eq!(ask("status", &address, &with_flag).0, Some(0));

    let refused = |server: &str, more: &[&str], why: &str| {
        let (code, error) = ask("status", server, more);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(why), "{error}");
    };
    refused(&encrypted, &[&ca], "the server wants a client certificate");
    refused(&address, &[], "the server speaks TLS");
    refused(&address, &all, "give --tls");
    let missing = [ca.as_str(), "--tls-server-name", "other.example"];
    refused(&encrypted, &missing, "other.example");
    refused(
        &encrypted,
        &["--tls-ca-cert-files=/nonexistent"],
        "/nonexistent",
    );
    let others = made(directory.path(), "others");
    let others = certs::client(&others);
    refused(&encrypted, &[&others[0]], "a CA that is not trusted here");
    let stranger = [&ca, &others[1], &others[2]].map(String::as_str);
    refused(&encrypted, &stranger, "does not trust the CA");
    process.terminate(PATIENCE).expect("stopped");
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_with_one_line() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let certificates = made(directory.path(), "certs");
    let file = |role: &str, name: &str| certificates.join(role).join(name).display().to_string();
    let start = |certificate: &str, key: &str| {
        let data = directory.path().join("data").display().to_string();
        let output = run(&[
            "aggregator",
            "--data-dir",
            &data,
            "--listen=127.0.0.1:0",
            "--metrics-listen=127.0.0.1:0",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
        ]);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    let key = file("client", "tls.key");
    let error = start(&file("aggregator", "tls.crt"), &key);
    assert!(
        error.contains(&format!("{key} is not the key of")),
        "{error}"
    );
    let error = start("/nonexistent", &key);
    assert!(error.contains("/nonexistent"), "{error}");
    assert!(
        !directory.path().join("data").exists(),
        "nothing was touched"
    );
}
