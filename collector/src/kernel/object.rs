//! The kernel programs as this binary carries them: ELF objects put there by `build.rs`, empty where they were not built.

use aya::include_bytes_aligned;

/// Plain programs, for every build.
static PLAIN: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir.o"));
/// The same programs with aya-log statements, for debug builds.
static WITH_LOG: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-log.o"));

/// This binary lacks the programs that were asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ObjectError {
    /// Built while `target/bpf/weir.o` did not exist.
    #[error(
        "this weir was built without its kernel programs: run `make build`, which installs what they need and builds both"
    )]
    NotBuilt,
    /// A release build, or built while `target/bpf/weir-log.o` did not exist.
    #[error(
        "this weir was built without kernel diagnostics: they need a debug build, \
         `cargo xtask build-ebpf --log && cargo build`"
    )]
    NoLog,
}

/// The kernel programs, ready for `aya::EbpfLoader::load`.
///
/// # Errors
///
/// [`ObjectError::NotBuilt`] if they were not there when this binary was built.
pub(crate) fn object() -> Result<&'static [u8], ObjectError> {
    present(PLAIN).ok_or(ObjectError::NotBuilt)
}

/// The kernel programs that log through aya-log.
///
/// # Errors
///
/// [`ObjectError::NoLog`] in release builds, and if they were not there when this binary was built.
pub(crate) fn object_with_log() -> Result<&'static [u8], ObjectError> {
    present(WITH_LOG).ok_or(ObjectError::NoLog)
}

fn present(object: &'static [u8]) -> Option<&'static [u8]> {
    (!object.is_empty()).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_an_absent_one() {
        assert_eq!(present(&[]), None);
        assert_eq!(present(b"\x7fELF"), Some(&b"\x7fELF"[..]));
    }

    #[test]
    fn what_is_embedded_is_absent_or_an_elf_object() {
        for embedded in [object(), object_with_log()].into_iter().flatten() {
            assert_eq!(&embedded[..4], b"\x7fELF");
        }
    }
}
