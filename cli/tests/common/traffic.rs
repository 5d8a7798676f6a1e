//! Traffic of every kind between the three pods, until it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use weir_testkit::{
    Dial, FrameSender, Outcome, Packet, Pod, TcpFlags, TcpServer, Transport, UdpServer,
};

use super::{DIAL, PATIENCE};

/// The port that `app=allowed` may reach.
pub(crate) const OPEN: u16 = 1234;

/// Traffic on threads of its own.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    flood: JoinHandle<u64>,
    _servers: (TcpServer, UdpServer),
}

impl Traffic {
    /// Starts all of it: a lasting connection, short ones, ones that use one tuple again and again, datagrams, and
    /// refused attempts.
    pub(crate) fn start(target: &Pod, allowed: &Pod, denied: &Pod) -> Self {
        let servers = (
            TcpServer::start(&target.netns, OPEN).expect("TCP server"),
            UdpServer::start(&target.netns, OPEN).expect("UDP server"),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let (addresses, netns) = (target.addresses, allowed.netns.clone());
        let mut session = Dial::to((addresses.v4, OPEN))
            .session(&netns)
            .expect("connected");
        let lasting = repeat(&stop, move || {
            assert_eq!(session.ping(PATIENCE).expect("ping"), Outcome::Connected);
        });
        let netns = allowed.netns.clone();
        let short = repeat(&stop, move || {
            let address = addresses.both()[fastrand::usize(..2)];
            let dial = Dial::to((address, OPEN)).timeout(PATIENCE);
            assert_eq!(dial.tcp(&netns).expect("dialled"), Outcome::Connected);
        });
        let (netns, from) = (allowed.netns.clone(), (allowed.addresses.v4, 31_999));
        let same_tuple = repeat(&stop, move || {
            let dial = Dial::to((addresses.v4, OPEN)).from(from).timeout(PATIENCE);
            // A process that is just being started may still hold the last one's socket.
            let Ok(mut session) = dial.session(&netns) else {
                return;
            };
            assert_eq!(session.ping(PATIENCE).expect("ping"), Outcome::Connected);
            session.abort().expect("aborted");
        });
        let netns = allowed.netns.clone();
        let datagrams = repeat(&stop, move || {
            let address = addresses.both()[fastrand::usize(..2)];
            let dial = Dial::to((address, OPEN)).timeout(DIAL);
            dial.udp(&netns).expect("sent");
        });
        Self {
            flood: flood(&stop, target, denied),
            threads: vec![lasting, short, same_tuple, datagrams],
            stop,
            _servers: servers,
        }
    }

    /// Stops it and says how many packets were sent that had to be refused.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("traffic goes through");
        }
        self.flood.join().expect("frames can be sent")
    }
}

/// The frame of an attempt to connect from one pod to another over IPv4.
pub(crate) fn syn(from: &Pod, to: &Pod, source_port: u16, port: u16) -> Vec<u8> {
    let syn = Transport::tcp(source_port, port, TcpFlags::SYN);
    Packet::v4(from.addresses.v4, to.addresses.v4, syn)
        .ethernet(from.mac, from.gateway_mac)
        .frame()
}

fn flood(stop: &Arc<AtomicBool>, target: &Pod, denied: &Pod) -> JoinHandle<u64> {
    let sender = FrameSender::open(&denied.netns, "eth0").expect("sender");
    let (stop, target, denied) = (Arc::clone(stop), target.clone(), denied.clone());
    spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let (source, port) = (10_000 + fastrand::u16(..16), 1200 + fastrand::u16(..64));
            sender
                .send(&syn(&denied, &target, source, port))
                .expect("sent");
            sent += 1;
            if sent % 16 == 0 {
                sleep(Duration::from_millis(5));
            }
        }
        sent
    })
}

fn repeat(stop: &Arc<AtomicBool>, mut once: impl FnMut() + Send + 'static) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            once();
            sleep(Duration::from_millis(fastrand::u64(..10)));
        }
    })
}
