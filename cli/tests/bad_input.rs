//! Bad input is one line that says what to do.

mod common;

use common::run;

fn error_of(args: &[&str]) -> (i32, String) {
    let output = run(args);
    let text = String::from_utf8(output.stderr).expect("text");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    (output.status.code().expect("exit code"), lines.join("\n"))
}

#[test]
fn unknown_values_of_flags_are_named() {
    for args in [
        &["observe", "--verdict", "maybe"][..],
        &["collector", "--manifests", "/tmp", "--mode", "strict"],
        &["observe", "--server", "nowhere"],
        &["observe", "--since", "soon"],
        &["aggregator", "--recent-bytes", "much"],
    ] {
        let (code, text) = error_of(args);
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(args[args.len() - 1]), "{text}");
    }
}

#[test]
fn a_server_that_is_not_there_is_one_line() {
    let (code, text) = error_of(&["observe", "--server", "unix:///nonexistent/weir.sock"]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("/nonexistent/weir.sock"), "{text}");
}

#[test]
fn manifests_that_are_not_there_are_one_line() {
    let (code, text) = error_of(&["policy", "check", "-f", "/nonexistent.yaml"]);
    assert_eq!(code, 2);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("/nonexistent.yaml"), "{text}");
}

#[test]
fn a_policy_with_errors_fails_the_check_at_its_line() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("p.yaml");
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n  ingress:\n    - ports: [{port: 65536}]\n";
    std::fs::write(&file, text).expect("written");
    let output = run(&["policy", "check", "-f", file.to_str().expect("path")]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains(
            "p.yaml:7:22: error: spec.ingress[0].ports[0].port: 65536 must be between 1 and 65535"
        ),
        "{text}"
    );
    let output = run(&[
        "policy",
        "check",
        "--format",
        "sarif",
        "-f",
        file.to_str().expect("path"),
    ]);
    let sarif: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
}

/// A collector's arguments that touch nothing outside of `dir`.
fn collector(dir: &std::path::Path, more: &[&str]) -> (i32, String) {
    let at = |name: &str| dir.join(name).display().to_string();
    let paths = [
        format!("--manifests={}", at("manifests")),
        format!("--state-dir={}", at("state")),
        format!("--unix-socket={}", at("weir.sock")),
        format!("--pin-root={}", at("pins")),
    ];
    let mut args = vec!["collector", "--node=node-1", "--metrics-listen=127.0.0.1:0"];
    args.extend(paths.iter().map(String::as_str));
    args.extend(more);
    error_of(&args)
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::create_dir(dir.path().join("manifests")).expect("made");
    dir
}

#[test]
fn a_collector_with_a_broken_manifest_names_its_place_once() {
    let dir = directory();
    std::fs::write(dir.path().join("manifests/p.yaml"), "kind: [").expect("written");
    let (code, text) = collector(dir.path(), &["--listen=127.0.0.1:0"]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert_eq!(text.matches("p.yaml:").count(), 1, "{text}");
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    let dir = directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("address").to_string();
    let (code, text) = collector(dir.path(), &[&format!("--listen={address}")]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    assert!(
        text.contains(&address) && text.contains("--listen"),
        "{text}"
    );
}

#[test]
fn a_pin_root_that_is_not_on_a_bpffs_is_named_and_so_are_missing_rights() {
    let dir = directory();
    let (code, text) = collector(dir.path(), &["--listen=127.0.0.1:0"]);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    if common::is_root() {
        assert!(text.contains("/pins is not on a bpf file system"), "{text}");
    } else {
        assert!(text.contains("CAP_BPF"), "{text}");
    }
}
