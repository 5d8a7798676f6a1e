//! Certificates by `weir certs init`, and the flags that name them.

use std::path::Path;

use super::run;

/// Makes what is missing in a directory; `more` are further arguments.
pub(crate) fn make(directory: &Path, more: &[&str]) {
    let directory = directory.display().to_string();
    let mut args = vec!["certs", "init", "--dir", &directory];
    args.extend(more);
    let output = run(&args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

/// One argument a file: `--NAME=DIRECTORY/FILE`.
pub(crate) fn files(directory: &Path, names: [(&str, &str); 3]) -> [String; 3] {
    names.map(|(flag, file)| format!("--{flag}={}", directory.join(file).display()))
}

/// The flags of who listens, with its own directory.
pub(crate) fn listener(directory: &Path) -> [String; 3] {
    let names = [
        ("tls-cert", "tls.crt"),
        ("tls-key", "tls.key"),
        ("tls-client-ca", "ca.crt"),
    ];
    files(directory, names)
}

/// The flags of who asks, which are Hubble's, with the client's certificate of a directory of certificates.
pub(crate) fn client(certificates: &Path) -> [String; 3] {
    let names = [
        ("tls-ca-cert-files", "ca.crt"),
        ("tls-client-cert-file", "tls.crt"),
        ("tls-client-key-file", "tls.key"),
    ];
    files(&certificates.join("client"), names)
}
