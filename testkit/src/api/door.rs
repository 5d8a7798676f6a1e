//! An address at which the server is reached, or at times is not.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::mpsc,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use socket2::{Domain, Socket, Type};
use tokio::{runtime::Handle, sync::oneshot, task::JoinSet};

use super::ApiError;
use crate::NetNs;

/// A port of the loopback address, in the test's own network namespace or in another one.
#[derive(Debug)]
pub(super) struct Door {
    place: Option<NetNs>,
    address: SocketAddr,
    /// Bound and never listening: nobody else gets the port while the door is closed, not even by connecting to it.
    _reserved: Socket,
    open: Option<Open>,
}

/// While connections are taken.
#[derive(Debug)]
struct Open {
    stop: oneshot::Sender<()>,
    /// Its other end is dropped when the last connection is.
    closed: mpsc::Receiver<()>,
}

// === impl Door ===

impl Door {
    /// Takes a port, closed at first.
    pub(super) fn new(place: Option<NetNs>) -> Result<Self, ApiError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let reserved = inside(place.as_ref(), || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&any.into())?;
            Ok(socket)
        })?
        .map_err(ApiError::io("bind", any))?;
        let address = reserved.local_addr();
        let address = address.map_err(ApiError::io("ask for the address of", "a socket"))?;
        Ok(Self {
            place,
            address: address.as_socket().unwrap_or(any),
            _reserved: reserved,
            open: None,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes connections, unless it does already.
    pub(super) fn open(&mut self, runtime: &Handle, router: &Router) -> Result<(), ApiError> {
        if self.open.is_some() {
            return Ok(());
        }
        let address = self.address;
        let listener = inside(self.place.as_ref(), || TcpListener::bind(address))?;
        let listener = listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)
        });
        let listener = listener.map_err(ApiError::io("listen on", address))?;
        let (stop, stopped) = oneshot::channel();
        let (alive, closed) = mpsc::sync_channel(0);
        runtime.spawn(accept(listener, router.clone(), stopped, alive));
        self.open = Some(Open { stop, closed });
        Ok(())
    }

    /// Breaks all connections and refuses new ones, and returns when that is so.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // It has ended by itself only if the runtime has.
            open.stop.send(()).ok();
            open.closed.recv().ok();
        }
    }
}

/// Runs in the door's namespace.
fn inside<T: Send>(
    place: Option<&NetNs>,
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> Result<std::io::Result<T>, ApiError> {
    match place {
        Some(place) => Ok(place.run(work)?),
        None => Ok(work()),
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
    _alive: mpsc::SyncSender<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    stream.set_nodelay(true).ok(); // slower without, not wrong
                    let service = TowerToHyperService::new(router.clone());
                    connections.spawn(async move {
                        // A connection may end as it likes: tests cut them.
                        let http = auto::Builder::new(TokioExecutor::new());
                        http.serve_connection(TokioIo::new(stream), service).await.ok();
                    });
                }
                Err(error) => tracing::warn!(%error, "the API server cannot take a connection"),
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}
