//! The one binary `weir`.

mod args;
mod certs;
mod client;
mod cni;
mod commands;
mod demo;
#[cfg(test)]
mod deploy;
mod output;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weir_collector::kernel::{LOG_TARGET, share_one_heap};

use args::{CertsCommand, Cli, CniCommand, Command, LogFormat};
use commands::block_on;

fn main() -> ExitCode {
    if cni::is_plugin(std::env::args_os().next().as_deref()) {
        return cni::run();
    }
    let cli = Cli::parse();
    match log_to_stderr(&cli).and_then(|()| run(&cli.command)) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Collector(args) => {
            share_one_heap();
            block_on(commands::collector::run(args))?;
        }
        Command::Aggregator(args) => block_on(commands::aggregator::run(args))?,
        Command::Cni(args) => match &args.command {
            None => return Ok(cni::run()),
            Some(CniCommand::Install(args)) => cni::install(args)?,
            Some(CniCommand::Uninstall(paths)) => cni::uninstall(paths)?,
        },
        Command::Observe(args) => block_on(commands::observe::run(args))?,
        Command::Status(args) => block_on(commands::status::run(args))?,
        Command::Explain(args) => return block_on(commands::explain::run(args)),
        Command::Policy(command) => return commands::policy::run(command),
        Command::Certs(CertsCommand::Init(args)) => block_on(certs::init(args))?,
        Command::Demo(args) => return demo::run(args),
    }
    Ok(ExitCode::SUCCESS)
}

fn log_to_stderr(cli: &Cli) -> anyhow::Result<()> {
    // kube logs every failed attempt as an error; the collector says once what it cannot reach.
    let mut filter = EnvFilter::try_new(format!("kube_client=off,{}", cli.log))
        .map_err(|error| anyhow::anyhow!("--log: {}: {error}", cli.log))?;
    if let Command::Collector(args) = &cli.command
        && args.kernel_log.is_some()
    {
        // Everything: the programs themselves leave out what is not wanted.
        filter = filter.add_directive(format!("{LOG_TARGET}=trace").parse()?);
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(io::stderr);
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let error = cause.downcast_ref::<io::Error>();
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        error.map(io::Error::kind).or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}
