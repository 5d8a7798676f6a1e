//! A TCP connection that lasts.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::{Outcome, dial::outcome, plain};
use crate::Error;

/// An open TCP connection to a [`TcpServer`](super::TcpServer) or another that echoes; closed (FIN) when dropped.
#[derive(Debug)]
pub struct TcpSession {
    stream: TcpStream,
    pings: u64,
}

// === impl TcpSession ===

impl TcpSession {
    pub(super) fn over(stream: TcpStream, timeout: Duration) -> Result<Self, Error> {
        let session = Self { stream, pings: 0 };
        let prepared = session
            .stream
            .set_nodelay(true)
            .and_then(|()| session.set_timeout(timeout));
        prepared.map_err(Error::io("prepare", "a connection"))?;
        Ok(session)
    }

    /// Sends a numbered line and waits for its echo, at most `timeout`.
    ///
    /// After a timeout the line may still arrive: TCP sends it again, and the next ping takes its echo for granted.
    ///
    /// # Errors
    /// The connection has failed in another way than by a reset, a timeout or an unreachable network.
    pub fn ping(&mut self, timeout: Duration) -> Result<Outcome, Error> {
        self.pings += 1;
        outcome(self.exchange(timeout)).map_err(Error::io("exchange data with", self.describe()))
    }

    /// The address and port on this side.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        let address = self.stream.local_addr();
        Ok(plain(
            address.map_err(Error::io("ask for", "a connection's address"))?,
        ))
    }

    /// Ends the connection with a reset.
    ///
    /// # Errors
    /// The system refuses.
    pub fn abort(self) -> Result<(), Error> {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .map_err(Error::io("abort", "a connection"))
    }

    fn exchange(&mut self, timeout: Duration) -> io::Result<()> {
        self.set_timeout(timeout)?;
        let line = format!("ping {}\n", self.pings);
        self.stream.write_all(line.as_bytes())?;
        let mut received = Vec::new();
        let mut buffer = [0; 1024];
        // Echoes of earlier pings that came too late precede this one's.
        while !received.ends_with(line.as_bytes()) {
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::ConnectionReset.into()),
                length => received.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(())
    }

    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.set_write_timeout(Some(timeout))
    }

    fn describe(&self) -> String {
        self.stream.peer_addr().map_or_else(
            |_| "a closed connection".to_owned(),
            |peer| peer.to_string(),
        )
    }
}
