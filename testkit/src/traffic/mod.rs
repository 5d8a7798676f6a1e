//! Traffic without external tools: servers, clients, frames.

mod arrivals;
mod capture;
mod counters;
mod dial;
mod link;
mod ping;
mod session;
mod tcp_server;
mod udp_server;

pub use arrivals::{Arrival, Arrivals};
pub use capture::{Capture, CapturedFrame, Direction, Syn};
pub use counters::InterfaceCounters;
pub use dial::{Dial, Outcome};
pub use link::FrameSender;
pub use session::TcpSession;
pub use tcp_server::TcpServer;
pub use udp_server::UdpServer;

use std::{
    collections::VecDeque,
    net::{Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Error, NetNs};

/// How many peers a server remembers; it counts on beyond them.
const PEERS_KEPT: usize = 4096;

/// The latest peers of a server.
#[derive(Debug, Default)]
struct Peers(Mutex<VecDeque<SocketAddr>>);

impl Peers {
    fn add(&self, peer: SocketAddr) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() == PEERS_KEPT {
            peers.pop_front();
        }
        peers.push_back(plain(peer));
    }

    fn list(&self) -> Vec<SocketAddr> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }
}

/// The address as its own family writes it: a socket of both families sees IPv4 peers as `::ffff:a.b.c.d`.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A socket on all addresses of both families at `port`, in `netns`.
fn bind_all(netns: &NetNs, port: u16, kind: Type, protocol: Protocol) -> Result<Socket, Error> {
    let bound = netns.run(|| {
        let socket = Socket::new(Domain::IPV6, kind, Some(protocol))?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(kind == Type::STREAM)?;
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
        Ok::<_, std::io::Error>(socket)
    })?;
    bound.map_err(Error::io(
        "bind",
        format!("port {port} in namespace {}", netns.name()),
    ))
}
