//! A packet socket on one interface (packet(7)), and sending over it.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
    },
};

use crate::{Error, NetNs};

/// Sends frames as they are.
#[derive(Debug)]
pub struct FrameSender {
    fd: OwnedFd,
    place: String,
}

// === impl FrameSender ===

impl FrameSender {
    /// A sender on an interface of `netns`, such as a pod's `eth0`: the frames leave there, as if the pod had sent them.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn open(netns: &NetNs, interface: &str) -> Result<Self, Error> {
        let (fd, _) = packet_socket(netns, interface)?;
        Ok(Self {
            fd,
            place: format!("{interface} in namespace {}", netns.name()),
        })
    }

    /// Sends one frame, Ethernet header included. One that a program drops on its way out at this very interface is sent, too.
    ///
    /// # Errors
    /// The frame is shorter than an Ethernet header or longer than the interface takes, or the interface is down.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        match send(self.fd.as_raw_fd(), frame, MsgFlags::empty()) {
            // What packet(7) says of a frame that was dropped behind it.
            Ok(_) | Err(Errno::ENOBUFS) => Ok(()),
            Err(errno) => Err(Error::io("send a frame from", &self.place)(errno)),
        }
    }
}

/// A packet socket for all protocols, bound to the interface, and the interface's address with its index.
pub(super) fn packet_socket(netns: &NetNs, interface: &str) -> Result<(OwnedFd, LinkAddr), Error> {
    let opened = netns.run(|| {
        let Some(address) = link_address(interface)? else {
            return Ok(None);
        };
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?;
        bind(fd.as_raw_fd(), &address)?;
        Ok::<_, Errno>(Some((fd, address)))
    })?;
    let place = format!("{interface} in namespace {}", netns.name());
    opened
        .map_err(Error::io("open a packet socket on", &place))?
        .ok_or(Error::NotFound {
            kind: "interface",
            name: place,
        })
}

/// The interface's link-level address; its protocol is 0, with which `bind` keeps the socket's own.
fn link_address(interface: &str) -> Result<Option<LinkAddr>, Errno> {
    Ok(getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied()))
}
