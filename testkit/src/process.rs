//! A program that runs beside a test or the demo: its output, the wait for a line of it, its end.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Error;

const POLL: Duration = Duration::from_millis(5);
const TAIL_LINES: usize = 15;

/// A running program; killed when the value is dropped.
#[derive(Debug)]
pub struct RunningProcess {
    child: Child,
    program: String,
    log: PathBuf,
}

// === impl RunningProcess ===

impl RunningProcess {
    /// Starts `command` (see [`NetNs::command`](crate::NetNs::command)) with its stdout and stderr going to the file `log`, which
    /// is made anew.
    ///
    /// # Errors
    /// The log cannot be made or the program cannot be started.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self, Error> {
        let program = describe(&command);
        let file = File::create(log).map_err(Error::path("create", log))?;
        let stdout = file.try_clone().map_err(Error::path("share", log))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .map_err(Error::io("start", &program))?;
        Ok(Self {
            child,
            program,
            log: log.to_owned(),
        })
    }

    /// Its process id: the program's own, also when `nsenter` has started it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A size of its `/proc/PID/status`, such as `VmRSS`, in bytes; none if it has ended.
    pub fn memory(&self, field: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let mut fields = status.lines().filter_map(|line| line.split_once(':'));
        let (_, size) = fields.find(|(name, _)| *name == field)?;
        let kilobytes: u64 = size.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes << 10)
    }

    /// All it has written so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn output(&self) -> Result<String, Error> {
        let mut bytes = Vec::new();
        self.read_log(0, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it has written a line with `needle` in it (at any time since it started) and returns that line.
    ///
    /// # Errors
    /// It ended before, or `timeout` passed; the error has the end of its output.
    pub fn wait_for_line(&mut self, needle: &str, timeout: Duration) -> Result<String, Error> {
        let deadline = Instant::now() + timeout;
        let mut seen = Vec::new();
        loop {
            // In this order: what it wrote before it ended counts.
            let ended = self.try_wait()?;
            let offset = seen.len();
            self.read_log(offset, &mut seen)?;
            let text = String::from_utf8_lossy(&seen);
            let mut complete = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n') || ended.is_some());
            if let Some(line) = complete.find(|line| line.contains(needle)) {
                return Ok(line.trim_end().to_owned());
            }
            if let Some(status) = ended {
                return Err(Error::EndedEarly {
                    program: self.program.clone(),
                    needle: needle.to_owned(),
                    status,
                    tail: tail(&text),
                });
            }
            if Instant::now() > deadline {
                return Err(Error::LineMissing {
                    program: self.program.clone(),
                    needle: needle.to_owned(),
                    waited: timeout,
                    tail: tail(&text),
                });
            }
            thread::sleep(POLL);
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system does not say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child
            .try_wait()
            .map_err(Error::io("wait for", &self.program))
    }

    /// Ends it as a crash would (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// The system does not say how it ended.
    pub fn kill(&mut self) -> Result<ExitStatus, Error> {
        self.child
            .kill()
            .map_err(Error::io("kill", &self.program))?;
        self.child
            .wait()
            .map_err(Error::io("wait for", &self.program))
    }

    /// Asks it to end (SIGTERM) and waits; after `patience` it is killed, which the status shows (`signal` is 9).
    ///
    /// # Errors
    /// The system does not say how it ended.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// Sends it a signal, unless it has ended.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the id is still its own.
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).map_err(Error::io("signal", &self.program))
    }

    fn read_log(&self, offset: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        let mut file = File::open(&self.log).map_err(Error::path("open", &self.log))?;
        file.seek(std::io::SeekFrom::Start(offset as u64))
            .and_then(|_| file.read_to_end(into))
            .map_err(Error::path("read", &self.log))?;
        Ok(())
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "could not end a process");
        }
    }
}

/// The program and its arguments, without the `nsenter` before them.
fn describe(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let entered = words
        .iter()
        .position(|word| word == "--")
        .filter(|_| words[0] == "nsenter");
    words[entered.map_or(0, |at| at + 1)..].join(" ")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
