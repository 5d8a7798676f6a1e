//! How an aggregator is set up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use weir_tls::ServerFiles;

use crate::store::StoreConfig;

/// Hubble relay's port: Observer, Flight and `weir.v1.Aggregator`.
pub const API_PORT: u16 = 4245;
/// Metrics of the aggregator; hubble-relay's.
pub const METRICS_PORT: u16 = 9966;

/// How an aggregator is set up. Defaults listen on the loopback address only, in plain text.
#[derive(Clone, Debug)]
pub struct Config {
    /// gRPC: collectors, Hubble's clients, `weir`.
    pub listen: SocketAddr,
    /// TLS for it; plain text without.
    pub tls: Option<ServerFiles>,
    /// The same on a unix socket, which is never encrypted.
    pub unix_socket: Option<PathBuf>,
    /// `/metrics`; none to not serve it.
    pub metrics: Option<SocketAddr>,
    /// The store.
    pub store: StoreConfig,
}

impl Config {
    /// The defaults, with this data directory.
    pub fn new(data: PathBuf) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            listen: SocketAddr::new(loopback, API_PORT),
            tls: None,
            unix_socket: None,
            metrics: Some(SocketAddr::new(loopback, METRICS_PORT)),
            store: StoreConfig::new(data),
        }
    }
}
