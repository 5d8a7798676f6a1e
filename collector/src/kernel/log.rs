//! The kernel programs' own log: lines that the programs write through aya-log, forwarded to `tracing`.

use std::io;
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio_util::sync::CancellationToken;
use tracing::{Level, event};

use super::KernelError;

/// Target of the kernel programs' lines, for filters such as `weir_ebpf=trace`.
pub const LOG_TARGET: &str = "weir_ebpf";

/// Between two readings of the ring.
const INTERVAL: Duration = Duration::from_millis(100);

/// How much the kernel programs say. The rest costs nothing: its code is removed when the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A table or ring is full.
    Warn,
    /// Also refusals and verdicts that changed.
    Debug,
    /// Also everything else that a packet of an established flow does not do.
    Trace,
}

impl LogLevel {
    /// As the programs compare it.
    pub(super) fn number(self) -> u8 {
        let level = match self {
            Self::Warn => aya_log::Level::Warn,
            Self::Debug => aya_log::Level::Debug,
            Self::Trace => aya_log::Level::Trace,
        };
        level.into()
    }
}

/// Reader of the kernel programs' log.
pub struct KernelLog(EbpfLogger<ToTracing>);

impl KernelLog {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        EbpfLogger::init_with_logger(ebpf, ToTracing)
            .map(Self)
            .map_err(KernelError::Log)
    }

    /// Forwards lines on a thread of its own until `shutdown`. The ring has room for 128 KiB between two readings;
    /// what is said beyond that is not kept, for it is a tool for looking at single packets, not a record.
    ///
    /// Nobody need wait for the thread: while packets keep the ring from running empty, it does not look up.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(mut self, shutdown: CancellationToken) -> io::Result<()> {
        let body = move || {
            while !shutdown.is_cancelled() {
                self.0.flush();
                thread::sleep(INTERVAL);
            }
            self.0.flush();
        };
        thread::Builder::new()
            .name("kernel-log".to_owned())
            .spawn(body)
            .map(drop)
    }
}

/// Hands aya-log's records, which are the `log` crate's, to `tracing`.
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Names of fixed length end in spaces: see `ebpf/src/diagnostics.rs`.
        let text = record.args().to_string();
        let text = text.trim_end();
        // The statement's place. tracing wants the level at compile time.
        let (file, line) = (record.file(), record.line());
        macro_rules! forward {
            ($level:ident) => {
                event!(target: LOG_TARGET, Level::$level, file, line, "{text}")
            };
        }
        match record.level() {
            log::Level::Error => forward!(ERROR),
            log::Level::Warn => forward!(WARN),
            log::Level::Info => forward!(INFO),
            log::Level::Debug => forward!(DEBUG),
            log::Level::Trace => forward!(TRACE),
        }
    }

    fn flush(&self) {}
}
