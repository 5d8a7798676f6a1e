//! What a namespace's own IP stack was given.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Error, NetNs};

/// Protocols with ports in their first four bytes: TCP, UDP, SCTP.
const PROTOCOLS: [u8; 3] = [6, 17, 132];
/// Enough for some thousand small packets.
const KERNEL_BUFFER: usize = 4 << 20;

/// Hears every TCP, UDP and SCTP packet that is delivered to addresses of a namespace, whether or not anything listens
/// there. Unlike a [`Capture`](super::Capture) on the interface it stands behind the traffic-control hooks: what a program on
/// that interface dropped never comes here.
#[derive(Debug)]
pub struct Arrivals {
    sockets: Vec<Raw>,
    place: String,
}

/// A delivered packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arrival {
    /// Its protocol's number.
    pub protocol: u8,
    /// Where it came from.
    pub source: SocketAddr,
    /// The port that it was sent to.
    pub port: u16,
}

#[derive(Debug)]
struct Raw {
    /// Raw, whatever its type here says: reading is the same.
    socket: UdpSocket,
    protocol: u8,
}

// === impl Arrivals ===

impl Arrivals {
    /// Listens in `netns` from now on.
    ///
    /// # Errors
    /// No root.
    pub fn start(netns: &NetNs) -> Result<Self, Error> {
        let place = format!("namespace {}", netns.name());
        let sockets = netns.run(|| {
            let kinds = [Domain::IPV4, Domain::IPV6].into_iter();
            let kinds = kinds.flat_map(|domain| PROTOCOLS.map(|protocol| (domain, protocol)));
            kinds
                .map(|(domain, protocol)| Raw::open(domain, protocol))
                .collect::<io::Result<Vec<Raw>>>()
        })?;
        let sockets = sockets.map_err(Error::io("listen to all packets in", &place))?;
        Ok(Self { sockets, place })
    }

    /// What has been delivered since the last call.
    ///
    /// # Errors
    /// A socket fails.
    pub fn take(&mut self) -> Result<Vec<Arrival>, Error> {
        let mut arrivals = Vec::new();
        for raw in &self.sockets {
            raw.drain(&mut arrivals)
                .map_err(Error::io("read packets in", &self.place))?;
        }
        Ok(arrivals)
    }
}

// === impl Raw ===

impl Raw {
    fn open(domain: Domain, protocol: u8) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(KERNEL_BUFFER)?;
        Ok(Self {
            socket: socket.into(),
            protocol,
        })
    }

    fn drain(&self, into: &mut Vec<Arrival>) -> io::Result<()> {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => into.extend(self.arrival(from.ip(), &buffer[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// IPv4 comes with its header (raw(7)), IPv6 without (RFC 3542 §3).
    fn arrival(&self, source: IpAddr, bytes: &[u8]) -> Option<Arrival> {
        let header = match source {
            IpAddr::V4(_) => usize::from(bytes.first()? & 0xf) * 4,
            IpAddr::V6(_) => 0,
        };
        let port = |at: usize| -> Option<u16> {
            let bytes = bytes.get(header + at..header + at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        Some(Arrival {
            protocol: self.protocol,
            source: SocketAddr::new(source, port(0)?),
            port: port(2)?,
        })
    }
}
