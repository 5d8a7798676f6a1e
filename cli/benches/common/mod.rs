//! What the benches with the real binary have in common.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod collector;
pub(crate) mod report;

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Full,
    Quick,
}

impl Length {
    /// One of two values.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// What the command line asks for: how long to measure, and the parts that `choose` knows, all of `usual` where it names
/// none.
///
/// # Errors
/// The bench is over before it begins: `cargo test --all-targets` runs benches, too, and does not want their numbers;
/// there is no root; or `choose` does not know a word, and says which there are.
pub(crate) fn asked<T>(
    usual: impl IntoIterator<Item = T>,
    choose: impl Fn(&str) -> Result<T, String>,
) -> Result<(Length, Vec<T>), ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if !words.iter().any(|word| word == "--bench") {
        return Err(ExitCode::SUCCESS);
    }
    let (mut length, mut chosen) = (Length::Full, Vec::new());
    for word in &words {
        match word.as_str() {
            "--bench" => {}
            "--quick" => length = Length::Quick,
            word => chosen.push(choose(word).map_err(|error| {
                eprintln!("{error}");
                ExitCode::FAILURE
            })?),
        }
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: needs root for network namespaces and eBPF");
        return Err(ExitCode::SUCCESS);
    }
    if chosen.is_empty() {
        chosen.extend(usual);
    }
    Ok((length, chosen))
}
