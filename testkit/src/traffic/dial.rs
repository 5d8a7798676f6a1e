//! One attempt to reach something, and what became of it.

use std::{
    io,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::TcpSession;
use crate::{Error, NetNs};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection stands; over UDP and ICMP: the answer came.
    Connected,
    /// Somebody said no: a TCP reset, or ICMP port unreachable.
    Refused,
    /// Nothing came back.
    TimedOut,
    /// The network said that there is no way.
    Unreachable,
}

/// An attempt to be made: where to, from where, how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    to: SocketAddr,
    from: Option<SocketAddr>,
    timeout: Duration,
}

// === impl Dial ===

impl Dial {
    /// An attempt to reach `to`, from any source port, waiting one second.
    pub fn to(to: impl Into<SocketAddr>) -> Self {
        Self {
            to: to.into(),
            from: None,
            timeout: Duration::from_secs(1),
        }
    }

    /// Sets the source address and port.
    pub fn from(mut self, from: impl Into<SocketAddr>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// Sets how long to wait.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens a TCP connection from `netns` and closes it again.
    ///
    /// # Errors
    /// Those of the attempt itself, as a source port that is taken; what the network does is the [`Outcome`].
    pub fn tcp(&self, netns: &NetNs) -> Result<Outcome, Error> {
        let connected = self.connect(netns)?;
        outcome(connected.map(drop)).map_err(Error::io("connect to", self.to))
    }

    /// Opens a TCP connection from `netns` and keeps it.
    ///
    /// # Errors
    /// It could not be opened, for whatever reason.
    pub fn session(&self, netns: &NetNs) -> Result<TcpSession, Error> {
        let stream = self
            .connect(netns)?
            .map_err(Error::io("connect to", self.to))?;
        TcpSession::over(stream, self.timeout)
    }

    /// Sends a UDP datagram from `netns` and waits for it to come back.
    ///
    /// # Errors
    /// As [`Dial::tcp`].
    pub fn udp(&self, netns: &NetNs) -> Result<Outcome, Error> {
        let socket = netns.run(|| self.socket(Type::DGRAM, Protocol::UDP))?;
        let socket: UdpSocket = socket
            .map_err(Error::io("make a socket for", self.to))?
            .into();
        outcome(self.exchange(&socket)).map_err(Error::io("exchange a datagram with", self.to))
    }

    fn connect(&self, netns: &NetNs) -> Result<io::Result<TcpStream>, Error> {
        let socket = netns
            .run(|| self.socket(Type::STREAM, Protocol::TCP))?
            .map_err(Error::io("make a socket for", self.to))?;
        let connected = socket.connect_timeout(&self.to.into(), self.timeout);
        Ok(connected.map(|()| socket.into()))
    }

    fn socket(&self, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.to), kind, Some(protocol))?;
        if let Some(from) = self.from {
            // A port whose last connection is in TIME_WAIT may be taken again.
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
        }
        Ok(socket)
    }

    fn exchange(&self, socket: &UdpSocket) -> io::Result<()> {
        socket.connect(self.to)?;
        // A late answer to an earlier attempt from the same port must not pass for the answer to this one.
        let question = format!("weir {:?}", Instant::now());
        socket.send(question.as_bytes())?;
        let deadline = Instant::now() + self.timeout;
        let mut buffer = [0; 256];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            let length = socket.recv(&mut buffer)?;
            if buffer[..length] == *question.as_bytes() {
                return Ok(());
            }
        }
    }
}

/// Tells what the network did from what went wrong here.
pub(super) fn outcome(result: io::Result<()>) -> io::Result<Outcome> {
    let Err(error) = result else {
        return Ok(Outcome::Connected);
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Ok(Outcome::Refused),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Ok(Outcome::TimedOut),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Ok(Outcome::Unreachable)
        }
        _ => Err(error),
    }
}
