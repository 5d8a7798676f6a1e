//! Map memory shared with the programs (`BPF_F_MMAPABLE`): for the words that must change in one store.
//!
//! A map update is a `memcpy` in the kernel, which promises nothing about its granularity.
#![expect(unsafe_code, reason = "memory mapped from the kernel")]

use std::io;
use std::num::NonZero;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The 8-byte values of an array map.
pub(super) struct MappedWords {
    base: NonNull<AtomicU64>,
    words: u32,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only accessed through atomics.
unsafe impl Send for MappedWords {}

impl MappedWords {
    /// Maps an array map that has `words` values of eight bytes, and was created with `BPF_F_MMAPABLE`.
    pub(super) fn new(map: BorrowedFd<'_>, words: u32) -> io::Result<Self> {
        let length = length(words).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; it refuses lengths beyond the map.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self {
            base: base.cast(),
            words,
        })
    }

    pub(super) fn load(&self, index: u32) -> Option<u64> {
        self.word(index).map(|word| word.load(Ordering::Acquire))
    }

    /// One aligned 8-byte store; false if there is no such index.
    pub(super) fn store(&self, index: u32, value: u64) -> bool {
        self.word(index).is_some_and(|word| {
            word.store(value, Ordering::Release);
            true
        })
    }

    fn word(&self, index: u32) -> Option<&AtomicU64> {
        if index >= self.words {
            return None;
        }
        // SAFETY: inside the mapping, which is page-aligned and lives as long as `self`; the programs and we access
        // its words as a whole.
        Some(unsafe { self.base.add(index as usize).as_ref() })
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        if let Some(length) = length(self.words) {
            // SAFETY: the mapping of `new`, to which no reference outlives `self`. Failure leaves it mapped: harmless.
            let _unmapped = unsafe { munmap(self.base.cast(), length.get()) };
        }
    }
}

fn length(words: u32) -> Option<NonZero<usize>> {
    NonZero::new(words as usize * size_of::<AtomicU64>())
}
