//! What Weir costs, measured on this machine: `cargo xtask bench`. One module per bench; each prints a Markdown table
//! that can stand in docs/SPECIFICATION.md.

mod machine;
mod packet;
mod stats;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Measures what a packet and a record cost; needs root and `cargo xtask build-ebpf`
#[derive(Parser)]
#[command(name = "cargo xtask bench", disable_version_flag = true)]
struct Args {
    /// Which benches; all without
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Few rounds: to see that it works, not for figures to quote
    #[arg(long)]
    quick: bool,
    /// Only lines whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    line: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Bench {
    /// ns per packet, beside an empty program and a floor
    Packet,
}

/// How thoroughly to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    Quick,
    Full,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    machine::check()?;
    let effort = if args.quick {
        Effort::Quick
    } else {
        Effort::Full
    };
    println!("{}", machine::describe());
    for bench in <Bench as clap::ValueEnum>::value_variants() {
        if !args.benches.is_empty() && !args.benches.contains(bench) {
            continue;
        }
        match bench {
            Bench::Packet => packet::run(effort, &args.line)?,
        }
    }
    Ok(())
}
