//! What Weir does to real traffic between pods, and what real traffic does to Weir's records: the release binary on a
//! node of network namespaces.
//!
//! `cargo bench -p weir-cli --bench traffic`; prints Markdown tables. `-- --quick` for a short run, and the name of a part
//! (`rates`, `curve`, `floods`,
//! `live`, `memory`) for that part alone. Needs root and two idle cores.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: what fails ends it"
)]

#[path = "../common/mod.rs"]
mod common;
mod curve;
mod empty;
mod floods;
mod frames;
mod live;
mod load;
mod memory;
mod rates;
mod stage;

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use common::Length;

/// A part of the bench by its name.
type Part = (&'static str, fn(Length));

const PARTS: [Part; 5] = [
    ("rates", rates::run),
    ("curve", curve::run),
    ("floods", floods::run),
    ("live", live::run),
    ("memory", memory::run),
];

fn main() -> ExitCode {
    let mut length = Length::Full;
    let mut chosen: Vec<Part> = Vec::new();
    // `cargo test --all-targets` runs benches, too, and does not want their numbers.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--bench" => {}
            "--quick" => length = Length::Quick,
            name => match PARTS.iter().find(|part| part.0 == name) {
                Some(part) => chosen.push(*part),
                None => {
                    let names = PARTS.map(|part| part.0).join(", ");
                    eprintln!("no part {name}: there are {names}, and --quick");
                    return ExitCode::FAILURE;
                }
            },
        }
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: needs root for network namespaces and eBPF");
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        chosen.extend(PARTS);
    }
    for (_, part) in chosen {
        part(length);
    }
    ExitCode::SUCCESS
}
