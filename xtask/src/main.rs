//! The project's chores, one command each: `cargo xtask --help`. One file per chore; this one only dispatches.

mod bench;
mod build_ebpf;
mod lint;
mod report;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Weir's chores", disable_version_flag = true)]
enum Chore {
    /// Measure what a packet and a record cost, as root: `cargo xtask bench -- --help`
    Bench(bench::Args),
    /// Build the kernel programs into target/bpf/
    BuildEbpf(build_ebpf::Args),
    /// Run clippy on the kernel programs
    ClippyEbpf,
    /// Check what rustfmt and clippy do not: file length, module docs, unfinished marks
    Lint,
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Bench(args) => bench::run(&args),
        Chore::BuildEbpf(args) => build_ebpf::run(&args),
        Chore::ClippyEbpf => build_ebpf::clippy(),
        Chore::Lint => lint::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
