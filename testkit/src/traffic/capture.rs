//! What really passed an interface, as a packet socket sees it.

use std::{
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt,
        sockopt::{RcvBufForce, RxqOvfl},
    },
};

use super::link::packet_socket;
use crate::{Error, NetNs};

/// The kernel keeps so many bytes of frames until they are read here; beyond them it drops.
const KERNEL_BUFFER: usize = 32 << 20;
/// How many frames are kept; beyond them they are only counted.
const FRAMES_KEPT: usize = 65_536;
/// `PACKET_OUTGOING` of if_packet.h.
const OUTGOING: u8 = 4;
const POLL: Duration = Duration::from_millis(2);

/// Records the frames of one interface from its start on.
///
/// It stands outside the traffic-control hook: on the pod's own `eth0` a frame that a program on the *node's* end dropped is not
/// seen, but one that a program on that same `eth0` drops on arrival is (the tap comes first); there, ask the server instead.
#[derive(Debug)]
pub struct Capture {
    fd: OwnedFd,
    place: String,
    index: usize,
    frames: Vec<CapturedFrame>,
    /// Not kept here.
    missed_here: u64,
    /// Not kept by the kernel, as the latest frame told.
    missed_there: u64,
    buffer: Vec<u8>,
}

/// A frame that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Which way.
    pub direction: Direction,
    /// Its bytes with Ethernet header. A checksum that is left to the interface is not in it.
    pub bytes: Vec<u8>,
}

/// The way of a frame, as the interface's own host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrived.
    In,
    /// It was sent.
    Out,
}

/// The first segment of a TCP connection: SYN without ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Which way it passed.
    pub direction: Direction,
    /// Who opens.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

// === impl Capture ===

impl Capture {
    /// Starts on an interface of `netns`.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn start(netns: &NetNs, interface: &str) -> Result<Self, Error> {
        let (fd, address) = packet_socket(netns, interface)?;
        let place = format!("{interface} in namespace {}", netns.name());
        setsockopt(&fd, RcvBufForce, &KERNEL_BUFFER)
            .and_then(|()| setsockopt(&fd, RxqOvfl, &1))
            .map_err(Error::io("prepare the capture on", &place))?;
        Ok(Self {
            fd,
            place,
            index: address.ifindex(),
            frames: Vec::new(),
            missed_here: 0,
            missed_there: 0,
            buffer: vec![0; 256 * 1024],
        })
    }

    /// All frames that have passed until now, oldest first; beyond 65536 they are counted in [`Capture::missed`].
    ///
    /// # Errors
    /// The interface is gone.
    pub fn frames(&mut self) -> Result<&[CapturedFrame], Error> {
        self.drain()?;
        Ok(&self.frames)
    }

    /// How many frames were not kept for want of room, here or in the kernel before the latest frame.
    pub fn missed(&self) -> u64 {
        self.missed_here + self.missed_there
    }

    /// All openings of TCP connections that have passed until now, oldest first.
    ///
    /// # Errors
    /// As [`Capture::frames`].
    pub fn syns(&mut self) -> Result<Vec<Syn>, Error> {
        Ok(self
            .frames()?
            .iter()
            .filter_map(CapturedFrame::syn)
            .collect())
    }

    /// Whether a SYN to `port` has arrived until now. One that was on its way when an attempt timed out has arrived by then, or
    /// was dropped.
    ///
    /// # Errors
    /// As [`Capture::frames`].
    pub fn syn_arrived(&mut self, port: u16) -> Result<bool, Error> {
        let arrived = |syn: &Syn| syn.direction == Direction::In && syn.destination.port() == port;
        Ok(self.syns()?.iter().any(arrived))
    }

    /// Waits until a frame that satisfies `wanted` has passed; false if `timeout` passed before.
    ///
    /// # Errors
    /// As [`Capture::frames`].
    pub fn wait_for(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(&CapturedFrame) -> bool,
    ) -> Result<bool, Error> {
        let deadline = Instant::now() + timeout;
        let mut looked_at = 0;
        loop {
            let frames = self.frames()?;
            if frames[looked_at..].iter().any(&wanted) {
                return Ok(true);
            }
            looked_at = frames.len();
            if Instant::now() > deadline {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
    }

    fn drain(&mut self) -> Result<(), Error> {
        let failed = || Error::io("capture from", &self.place);
        let mut control = cmsg_space!(u32);
        loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            let received = recvmsg::<LinkAddr>(
                self.fd.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            );
            let message = match received {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed()(errno)),
            };
            for control in message.cmsgs().map_err(failed())? {
                if let ControlMessageOwned::RxqOvfl(dropped) = control {
                    self.missed_there = dropped.into();
                }
            }
            let (length, from) = (message.bytes, message.address);
            // Between its making and its binding the socket hears every interface of the namespace.
            let Some(from) = from.filter(|from| from.ifindex() == self.index) else {
                continue;
            };
            if self.frames.len() == FRAMES_KEPT {
                self.missed_here += 1;
                continue;
            }
            let direction = match from.pkttype() {
                OUTGOING => Direction::Out,
                _ => Direction::In,
            };
            self.frames.push(CapturedFrame {
                direction,
                bytes: self.buffer[..length].to_vec(),
            });
        }
    }
}

// === impl CapturedFrame ===

impl CapturedFrame {
    /// The opening of a TCP connection, if the frame is one.
    pub fn syn(&self) -> Option<Syn> {
        let packet = LaxSlicedPacket::from_ethernet(&self.bytes).ok()?;
        let (source, destination): (IpAddr, IpAddr) = match packet.net? {
            LaxNetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            LaxNetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            LaxNetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            return None;
        };
        (tcp.syn() && !tcp.ack()).then(|| Syn {
            direction: self.direction,
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
        })
    }
}
