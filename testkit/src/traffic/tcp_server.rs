//! A TCP server that takes connections and echoes what they send.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Protocol, SockRef, Type};

use super::{Peers, bind_all};
use crate::{Error, NetNs};

/// Connections beyond these are closed at once (and counted like all).
const MAX_LIVE: usize = 1024;
const BACKLOG: i32 = 1024;

/// A TCP echo server on all addresses of a namespace, on threads of its own; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct TcpServer {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    stopping: AtomicBool,
    /// Held while connections are taken.
    taking: Mutex<()>,
    connections: AtomicU64,
    bytes: AtomicU64,
    peers: Peers,
    /// For closing them from outside the threads that serve them.
    live: Mutex<HashMap<u64, TcpStream>>,
}

// === impl TcpServer ===

impl TcpServer {
    /// Listens at `port` (0: any free one) of all addresses in `netns`.
    ///
    /// # Errors
    /// The port is taken, or the namespace is gone.
    pub fn start(netns: &NetNs, port: u16) -> Result<Self, Error> {
        let socket = bind_all(netns, port, Type::STREAM, Protocol::TCP)?;
        socket
            .listen(BACKLOG)
            .map_err(Error::io("listen at port", port))?;
        socket
            .set_nonblocking(true)
            .map_err(Error::io("listen at port", port))?;
        let shared = Arc::new(Shared {
            listener: socket.into(),
            stopping: AtomicBool::new(false),
            taking: Mutex::default(),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            peers: Peers::default(),
            live: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("tcp-server-{port}"))
                .spawn(move || shared.accept())
                .map_err(Error::io("start", "a server's thread"))?
        };
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// The port it listens at.
    ///
    /// # Errors
    /// The system does not say.
    pub fn port(&self) -> Result<u16, Error> {
        let address = self.shared.listener.local_addr();
        Ok(address
            .map_err(Error::io("ask for", "a server's address"))?
            .port())
    }

    /// How many connections have reached it, those that wait to be accepted among them.
    pub fn connections_seen(&self) -> u64 {
        self.shared.take();
        self.shared.connections.load(Ordering::Acquire)
    }

    /// How many bytes it has received (and echoed).
    pub fn bytes_received(&self) -> u64 {
        self.shared.bytes.load(Ordering::Acquire)
    }

    /// Where its latest connections came from (at most 4096), oldest first.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.shared.peers.list()
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Linux wakes a poll() whose socket is shut down. It fails only for a socket that is no listener any more.
        let _ = SockRef::from(&self.shared.listener).shutdown(Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (_, stream) in self.shared.live().drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

// === impl Shared ===

impl Shared {
    fn accept(self: &Arc<Self>) {
        while !self.stopping.load(Ordering::Acquire) {
            let mut listener = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            // Woken for nothing, it finds nothing to take.
            let _ = poll(&mut listener, PollTimeout::from(100u8));
            self.take();
        }
    }

    /// Takes all connections that wait.
    fn take(self: &Arc<Self>) {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    self.peers.add(peer);
                    let number = self.connections.fetch_add(1, Ordering::AcqRel);
                    self.serve(number, stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) if self.stopping.load(Ordering::Acquire) => return,
                // Out of files, or a connection that was reset while it waited: the next may do better.
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    thread::sleep(Duration::from_millis(10));
                    return;
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, number: u64, stream: TcpStream) {
        let Ok(handle) = stream.try_clone() else {
            return;
        };
        {
            let mut live = self.live();
            if live.len() >= MAX_LIVE {
                return;
            }
            live.insert(number, handle);
        }
        let shared = Arc::clone(self);
        let served = thread::Builder::new()
            .name("tcp-echo".to_owned())
            .spawn(move || {
                shared.echo(&stream);
                shared.live().remove(&number);
            });
        if let Err(error) = served {
            tracing::warn!(%error, "no thread for a connection");
            self.live().remove(&number);
        }
    }

    fn echo(&self, mut stream: &TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            self.bytes.fetch_add(length as u64, Ordering::AcqRel);
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
