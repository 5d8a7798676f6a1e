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

use std::process::ExitCode;

use common::{Length, asked};

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
    let (length, chosen) = match asked(PARTS, part) {
        Ok(asked) => asked,
        Err(over) => return over,
    };
    for (_, part) in chosen {
        part(length);
    }
    ExitCode::SUCCESS
}

fn part(name: &str) -> Result<Part, String> {
    let part = PARTS.into_iter().find(|part| part.0 == name);
    part.ok_or_else(|| {
        let names = PARTS.map(|part| part.0).join(", ");
        format!("no part {name}: there are {names}, and --quick")
    })
}
