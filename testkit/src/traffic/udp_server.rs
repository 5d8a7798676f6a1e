//! A UDP server that echoes each datagram.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::in6_pktinfo,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
        sockopt::Ipv6RecvPacketInfo,
    },
};
use socket2::{Protocol, Type};

use super::{Peers, bind_all};
use crate::{Error, NetNs};

/// How often the server looks whether it shall end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A UDP echo server on all addresses of a namespace, on a thread of its own; dropping it closes its port.
#[derive(Debug)]
pub struct UdpServer {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    stopping: AtomicBool,
    datagrams: AtomicU64,
    peers: Peers,
}

// === impl UdpServer ===

impl UdpServer {
    /// Listens at `port` (0: any free one) of all addresses in `netns`.
    ///
    /// # Errors
    /// The port is taken, or the namespace is gone.
    pub fn start(netns: &NetNs, port: u16) -> Result<Self, Error> {
        let socket: UdpSocket = bind_all(netns, port, Type::DGRAM, Protocol::UDP)?.into();
        socket
            .set_read_timeout(Some(PATIENCE))
            .map_err(Error::io("set", "a server's timeout"))?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)
            .map_err(Error::io("prepare", "a server's socket"))?;
        let shared = Arc::new(Shared {
            socket,
            stopping: AtomicBool::new(false),
            datagrams: AtomicU64::new(0),
            peers: Peers::default(),
        });
        let worker = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("udp-server-{port}"))
                .spawn(move || shared.echo())
                .map_err(Error::io("start", "a server's thread"))?
        };
        Ok(Self {
            shared,
            worker: Some(worker),
        })
    }

    /// The port it listens at.
    ///
    /// # Errors
    /// The system does not say.
    pub fn port(&self) -> Result<u16, Error> {
        let address = self.shared.socket.local_addr();
        Ok(address
            .map_err(Error::io("ask for", "a server's address"))?
            .port())
    }

    /// How many datagrams it has received.
    pub fn datagrams_seen(&self) -> u64 {
        self.shared.datagrams.load(Ordering::Acquire)
    }

    /// Where the latest datagrams came from (at most 4096), oldest first.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.shared.peers.list()
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn echo(&self) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while !self.stopping.load(Ordering::Acquire) {
            // An error is the timeout, or the refusal of an earlier answer: neither concerns the next datagram.
            let Ok((length, peer, local)) = self.receive(&mut buffer) else {
                continue;
            };
            self.peers.add(SocketAddr::V6(peer.into()));
            self.datagrams.fetch_add(1, Ordering::AcqRel);
            let _ = sendmsg(
                self.socket.as_raw_fd(),
                &[IoSlice::new(&buffer[..length])],
                &[ControlMessage::Ipv6PacketInfo(&local)],
                MsgFlags::empty(),
                Some(&peer),
            );
        }
    }

    /// A datagram's length, who sent it, and to which of the host's addresses: the answer must come from there.
    fn receive(&self, buffer: &mut [u8]) -> Result<(usize, SockaddrIn6, in6_pktinfo), Errno> {
        let mut control = cmsg_space!(in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrIn6>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let mut local = message
            .cmsgs()?
            .find_map(|control| match control {
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
                _ => None,
            })
            .ok_or(Errno::ENODATA)?;
        // The way back is the routes' to choose.
        local.ipi6_ifindex = 0;
        let peer = message.address.ok_or(Errno::ENODATA)?;
        Ok((message.bytes, peer, local))
    }
}
