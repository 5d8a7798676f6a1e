//! Loops of plain sockets between two namespaces, each on a processor of its choice.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use socket2::SockRef;
use weir_testkit::NetNs;

/// Where servers listen.
pub(crate) const PORT: u16 = 5000;
const CHUNK: usize = 128 * 1024;

/// Who talks to whom.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) client: NetNs,
    pub(crate) server: NetNs,
    pub(crate) address: Ipv4Addr,
}

/// What they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One TCP stream; an operation is a byte received.
    Throughput,
    /// One byte there, one back, again and again.
    RequestResponse,
    /// A connection, one byte there and one back, a reset.
    ConnectClose,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// How many operations.
    pub(crate) operations: f64,
    /// In what time.
    pub(crate) time: Duration,
    /// Processor time of both ends, the kernel's work on their behalf included.
    pub(crate) cpu: Duration,
}

impl Measured {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations / self.time.as_secs_f64()
    }

    /// Microseconds of processor time an operation.
    pub(crate) fn cpu_each(&self) -> f64 {
        super::common::report::micros(self.cpu) / self.operations
    }
}

/// Measures until `stop` says so.
pub(crate) fn measure_until(ends: &Ends, kind: Kind, stop: &AtomicBool) -> Measured {
    let listener = ends
        .server
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .unwrap()
        .unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            // A stream keeps both ends busy at once; the others take turns, and cost least without a change of core.
            pin(usize::from(kind == Kind::Throughput));
            timed(|| serve(&listener, kind))
        });
        let to = SocketAddrV4::new(ends.address, PORT);
        let client = ends.client.run(|| {
            pin(0);
            let began = Instant::now();
            let (sent, cpu) = timed(|| talk(to, kind, stop));
            (sent, cpu, began.elapsed())
        });
        let (sent, client_cpu, time) = client.unwrap();
        // Wakes the accept().
        let _already_closed = SockRef::from(&listener).shutdown(Shutdown::Both);
        let (received, server_cpu) = server.join().unwrap();
        let operations = match kind {
            Kind::Throughput => received,
            Kind::RequestResponse | Kind::ConnectClose => sent,
        };
        Measured {
            operations: operations as f64,
            time,
            cpu: client_cpu + server_cpu,
        }
    })
}

/// Measures for a time.
pub(crate) fn measure(ends: &Ends, kind: Kind, time: Duration) -> Measured {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let measured = scope.spawn(|| measure_until(ends, kind, &stop));
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        measured.join().unwrap()
    })
}

/// Binds the calling thread to a processor (modulo their number).
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    let cpus = thread::available_parallelism().unwrap().get();
    set.set(cpu % cpus).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// The work's result, and the processor time that the calling thread spent on it.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = now();
    let done = work();
    (done, now() - before)
}

/// Serves until the listener is shut down; the bytes received.
fn serve(listener: &TcpListener, kind: Kind) -> u64 {
    let mut received = 0;
    let mut buffer = vec![0; CHUNK];
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true).unwrap();
        // A reset is how connections end here.
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            received += length as u64;
            if kind != Kind::Throughput && stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    }
    received
}

/// Talks until `stop`; how many operations.
fn talk(to: SocketAddrV4, kind: Kind, stop: &AtomicBool) -> u64 {
    let is_on = || !stop.load(Ordering::Relaxed);
    let mut count = 0;
    if kind == Kind::ConnectClose {
        while is_on() {
            let mut stream = connect(to);
            exchange(&mut stream);
            count += 1;
        }
        return count;
    }
    let mut stream = connect(to);
    let chunk = vec![0; CHUNK];
    while is_on() {
        if kind == Kind::Throughput {
            stream.write_all(&chunk).unwrap();
        } else {
            exchange(&mut stream);
        }
        count += 1;
    }
    count
}

/// A connection that ends with a reset, so that its port is free again at once.
fn connect(to: SocketAddrV4) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    stream
}

fn exchange(stream: &mut TcpStream) {
    stream.write_all(b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}
