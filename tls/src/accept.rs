//! Connections to a listener, once they are encrypted.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::ServerTls;

/// Handshakes at the same time; more connections wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// A handshake takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failure to accept, e.g. too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two warnings of failed handshakes: anybody can cause them.
const WARNINGS: Duration = Duration::from_secs(60);

/// Connections that have gone through the handshake, for tonic. The files are looked at meanwhile.
pub fn incoming(
    listener: TcpListener,
    tls: ServerTls,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let mut look = interval(tls.look);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let door = Door {
        listener,
        look,
        tls,
        handshakes: JoinSet::new(),
        warned: None,
    };
    stream::unfold(door, async |mut door| Some((Ok(door.next().await), door)))
}

struct Door {
    listener: TcpListener,
    look: Interval,
    tls: ServerTls,
    handshakes: JoinSet<Result<TlsStream<TcpStream>, Refused>>,
    warned: Option<Instant>,
}

/// A handshake that failed.
struct Refused {
    peer: SocketAddr,
    reason: String,
}

impl Door {
    async fn next(&mut self) -> TlsStream<TcpStream> {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => self.shake_hands(stream, peer),
                    Err(error) => {
                        debug!(%error, "cannot accept a connection");
                        sleep(PAUSE).await;
                    }
                },
                Some(shaken) = self.handshakes.join_next() => match shaken {
                    Ok(Ok(stream)) => return stream,
                    Ok(Err(refused)) => self.count(&refused),
                    Err(error) => warn!(%error, "a TLS handshake panicked"),
                },
                _ = self.look.tick() => self.tls.refresh(),
            }
        }
    }

    fn shake_hands(&mut self, stream: TcpStream, peer: SocketAddr) {
        let acceptor = TlsAcceptor::from(self.tls.current());
        self.handshakes.spawn(async move {
            let refused = |reason| Refused { peer, reason };
            // Small answers should not wait for more.
            stream.set_nodelay(true).ok();
            match timeout(PATIENCE, acceptor.accept(stream)).await {
                Ok(accepted) => accepted.map_err(|error| refused(error.to_string())),
                Err(_) => Err(refused(format!("nothing came for {PATIENCE:?}"))),
            }
        });
    }

    fn count(&mut self, refused: &Refused) {
        self.tls.failed_handshakes.inc();
        let Refused { peer, reason } = refused;
        if self.warned.is_none_or(|at| at.elapsed() > WARNINGS) {
            self.warned = Some(Instant::now());
            warn!(%peer, reason, "a connection was refused during the TLS handshake");
        } else {
            debug!(%peer, reason, "a connection was refused during the TLS handshake");
        }
    }
}
