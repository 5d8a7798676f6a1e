//! ICMP echo.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Outcome, dial::outcome};
use crate::{Error, NetNs};

impl NetNs {
    /// Sends one ICMP echo request to `to` and waits for its reply.
    ///
    /// # Errors
    /// Those of the attempt itself; what the network does is the [`Outcome`].
    pub fn ping(&self, to: IpAddr, timeout: Duration) -> Result<Outcome, Error> {
        let socket = self.run(|| {
            let protocol = match to {
                IpAddr::V4(_) => Protocol::ICMPV4,
                IpAddr::V6(_) => Protocol::ICMPV6,
            };
            Socket::new(
                Domain::for_address(SocketAddr::new(to, 0)),
                Type::DGRAM,
                Some(protocol),
            )
        })?;
        let socket = socket.map_err(Error::io("make an ICMP socket for", to))?;
        outcome(echo(&socket, to, timeout)).map_err(Error::io("ping", to))
    }
}

/// The kernel sets identifier and checksum, and gives this socket only the replies to its own identifier.
fn echo(socket: &Socket, to: IpAddr, timeout: Duration) -> io::Result<()> {
    let request_type = match to {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 128,
    };
    socket.connect(&SocketAddr::new(to, 0).into())?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(&[request_type, 0, 0, 0, 0, 0, 0, 1, b'w', b'e', b'i', b'r'])?;
    socket.recv(&mut [MaybeUninit::uninit(); 256])?;
    Ok(())
}
