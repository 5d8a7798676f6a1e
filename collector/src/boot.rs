//! Which boot of the machine, and which run of the collector.

use std::fs;
use std::sync::Arc;

use crate::assemble::Run;
use crate::state::{StateDir, StateError};

const FILE: &str = "run.json";

/// The kernel's name for this boot; empty where it cannot be read, which makes all boots one.
pub(crate) fn id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

/// Begins the next run on this state directory.
///
/// # Errors
/// [`StateError`] if its number cannot be read or kept.
pub(crate) fn next_run(state: &StateDir, node: Arc<str>) -> Result<Run, StateError> {
    let last: u16 = state.load(FILE)?.unwrap_or_default();
    let run = last.wrapping_add(1);
    state.save(FILE, &run)?;
    Ok(Run {
        boot: first_bytes(&id()),
        run,
        node,
    })
}

/// The first 8 bytes of a boot id, which is a UUID in hexadecimal.
fn first_bytes(id: &str) -> u64 {
    let digits = id.chars().filter_map(|digit| digit.to_digit(16));
    digits
        .take(16)
        .fold(0, |number, digit| number << 4 | u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_becomes_its_first_eight_bytes() {
        let id = "0123abcd-4567-89ef-ffff-ffffffffffff";
        assert_eq!(first_bytes(id), 0x0123_abcd_4567_89ef);
        assert_eq!(first_bytes(""), 0);
    }

    #[test]
    fn each_run_has_the_next_number() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path()).unwrap();
        let numbers: Vec<u16> = (0..3)
            .map(|_| next_run(&state, "node-1".into()).unwrap().run)
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
    }
}
