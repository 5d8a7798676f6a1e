//! Standard output. A reader that has gone away (`| head`) is no error.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Writes text as it is.
///
/// # Errors
/// Anything but a closed pipe.
pub(crate) fn text(text: &str) -> io::Result<()> {
    ignore_closed(io::stdout().lock().write_all(text.as_bytes()))
}

/// Writes a value as indented JSON.
///
/// # Errors
/// Anything but a closed pipe.
pub(crate) fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)
        .map_err(io::Error::from)
        .or_else(|error| ignore_closed(Err(error)))?;
    ignore_closed(out.write_all(b"\n"))
}

/// Says on stderr what went wrong, in one line with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {}", in_one_line(error));
}

/// Most of our errors tell their cause themselves: what was said is not said again.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

fn ignore_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
