//! What can be wrong with files and addresses.

use std::io;
use std::path::PathBuf;

/// Why TLS cannot be set up. Names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is not there, or may not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is not PEM, or damaged.
    #[error("{}: damaged PEM: {source}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It has no `BEGIN CERTIFICATE`.
    #[error("{}: no certificate in it, expected PEM", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// It has no `BEGIN … PRIVATE KEY`.
    #[error("{}: no private key in it, expected PEM", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is none.
    #[error("{}: a certificate that cannot be read: {reason}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key is of a kind that is not known.
    #[error("{}: a key that cannot be used: {source}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// They are of two pairs.
    #[error("{} is not the key of {}", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate cannot be a CA.
    #[error("{}: no CA certificate: {source}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// Nobody to trust.
    #[error("this system has no CA certificates: name a file with the server's")]
    NoAuthorities,
    /// rustls does not take it together.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The name that a certificate must have is none.
    #[error("{name:?} is no server name")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// An address is none.
    #[error("{url:?} is no address: {source}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong.
        #[source]
        source: tonic::transport::Error,
    },
    /// An address that is of no use.
    #[error("{url:?} is no address: expected http://host:port, or https://host:port for TLS")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// Files for TLS, and an address without.
    #[error("certificates were given, and {url:?} is an address without TLS: expected https://")]
    PlainText {
        /// What was given.
        url: String,
    },
}
