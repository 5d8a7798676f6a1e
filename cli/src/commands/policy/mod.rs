//! `weir policy ...`

mod check;
mod files;
mod steps;
mod test;

use std::process::ExitCode;

pub(crate) use files::read;

use crate::args::PolicyCommand;

/// Runs the subcommand.
///
/// # Errors
/// Input that cannot be read.
pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Test(args) => test::run(args),
    }
}
