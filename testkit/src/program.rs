//! Running the programs that wire the cluster: `ip` and `nft`.

use std::{
    io::{self, Write},
    process::{Command, Output, Stdio},
};

use crate::{Error, NetNs};

/// Refuses early, and with a remedy, where namespaces cannot be made.
pub(crate) fn require_root() -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot)
    }
}

/// Runs `ip -batch` over `lines`, in namespace `netns` or in the caller's.
pub(crate) fn ip_batch<S: AsRef<str>>(netns: Option<&str>, lines: &[S]) -> Result<(), Error> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command.args(["-batch", "-"]);
    let input: String = lines
        .iter()
        .map(|line| format!("{}\n", line.as_ref()))
        .collect();
    let output = run(&mut command, &input).map_err(missing("ip", "iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let failed = failed_line(&stderr).and_then(|number| lines.get(number.checked_sub(1)?));
    Err(Error::ProgramFailed {
        program: "ip",
        netns: netns.unwrap_or("(this one)").to_owned(),
        input: failed.map_or_else(
            || input.trim_end().to_owned(),
            |line| line.as_ref().to_owned(),
        ),
        stderr: one_line(&stderr),
    })
}

/// Loads a ruleset with `nft -f -` in `netns`: all of it or, on an error, nothing.
pub(crate) fn nft(netns: &NetNs, ruleset: &str) -> Result<(), Error> {
    // The child is born in the namespace of the thread that spawns it.
    let output = netns
        .run(|| run(Command::new("nft").args(["-f", "-"]), ruleset))?
        .map_err(missing("nft", "nftables"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::ProgramFailed {
        program: "nft",
        netns: netns.name().to_owned(),
        input: "ruleset".to_owned(),
        stderr: one_line(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// Runs a program with this input. Also says whether it took all of it.
pub(crate) fn feed(command: &mut Command, input: &str) -> io::Result<(Output, io::Result<()>)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    Ok((child.wait_with_output()?, written))
}

/// The same of a program that must take all of it.
fn run(command: &mut Command, input: &str) -> io::Result<Output> {
    let (output, written) = feed(command, input)?;
    // A program that failed may have closed its input before reading all of it: its own words say more.
    if output.status.success() {
        written?;
    }
    Ok(output)
}

fn missing(program: &'static str, package: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        if error.kind() == io::ErrorKind::NotFound {
            Error::ProgramMissing { program, package }
        } else {
            Error::io("run", program)(error)
        }
    }
}

/// The line number in `Command failed -:7`.
fn failed_line(stderr: &str) -> Option<usize> {
    let (_, rest) = stderr.rsplit_once("Command failed -:")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_batch_line_is_found_by_its_number() {
        assert_eq!(
            failed_line("RTNETLINK answers: File exists\nCommand failed -:12\n"),
            Some(12)
        );
        assert_eq!(failed_line("Cannot open network namespace"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = missing("nft", "nftables")(io::ErrorKind::NotFound.into());
        assert_eq!(
            error.to_string(),
            "`nft` is not installed: apt-get install nftables"
        );
    }
}
