//! TLS for everything of Weir's that listens or connects: files on disk to rustls, and back again when they change.
//!
//! ```text
//!  files ─▶ Reloaded<ServerConfig> ─▶ incoming(): a handshake for each connection ─▶ tonic
//!  files ─▶ Reloaded<ClientConfig> ─▶ Target::connect(): the same, for each connection ─▶ Channel
//! ```
//!
//! A renewed certificate, key or CA is used by the next connection; a file that cannot be used changes nothing. The
//! cryptography is ring's, given to rustls by name and never taken from the process.

mod accept;
mod cause;
mod client;
mod error;
mod facts;
mod files;
mod reload;
mod server;
mod target;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use accept::incoming;
pub use cause::{cause, status_cause};
pub use client::ClientFiles;
pub use error::TlsError;
pub use facts::Facts;
pub use files::{IdentityFiles, certificates_in};
pub use server::{ServerFiles, ServerTls};
pub use target::Target;

/// HTTP/2, which gRPC is.
const ALPN: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
