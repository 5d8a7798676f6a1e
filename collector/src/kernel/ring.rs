//! A ring buffer map, read in place: records stay in it until they are released, so that a crash in between leaves them
//! for the next run. aya's reader frees each record as it goes on to the next.
//!
//! Layout: `kernel/bpf/ringbuf.c` and libbpf's `ringbuf.c`. One writable page with the consumer's position, one read-only
//! page with the producer's, then the data, mapped twice in a row so that no record is cut by the end.
#![expect(unsafe_code, reason = "memory mapped from the kernel")]

use std::io;
use std::num::NonZero;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{SysconfVar, sysconf};

/// In a record's length: it is still being written.
const BUSY: u32 = 1 << 31;
/// In a record's length: its writer thought better of it.
const DISCARDED: u32 = 1 << 30;
/// Before each record: its length, and four bytes of the kernel's.
const HEADER: usize = 8;

/// A ring.
pub(super) struct Ring {
    /// The consumer's position.
    consumer: Mapping,
    /// The producer's position and the data.
    producer: Mapping,
    page: usize,
    /// Bytes of data, a power of two.
    size: usize,
    /// Everything before it was visited.
    read: usize,
}

/// Mapped memory.
struct Mapping {
    base: NonNull<u8>,
    length: NonZero<usize>,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(
        map: BorrowedFd<'_>,
        protection: ProtFlags,
        offset: usize,
        length: usize,
    ) -> io::Result<Self> {
        let length = NonZero::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice; it refuses lengths beyond the map.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map, offset) }?;
        let base = base.cast();
        Ok(Self { base, length })
    }

    /// The word at the beginning.
    fn position(&self) -> &AtomicUsize {
        // SAFETY: a mapping is page-aligned and at least a page long; both sides access this word as a whole.
        unsafe { self.base.cast().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, to which no reference outlives `self`. Failure leaves it mapped: harmless.
        let _unmapped = unsafe { munmap(self.base.cast(), self.length.get()) };
    }
}

impl Ring {
    /// Maps a ring buffer map of `size` bytes. Reading begins where the last reader released.
    pub(super) fn new(map: BorrowedFd<'_>, size: u32) -> io::Result<Self> {
        let size = size as usize;
        let page = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
        let page = usize::try_from(page).map_err(io::Error::other)?;
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let consumer = Mapping::new(map, both, 0, page)?;
        let producer = Mapping::new(map, ProtFlags::PROT_READ, page, page + 2 * size)?;
        let read = consumer.position().load(Ordering::Acquire);
        Ok(Self {
            consumer,
            producer,
            page,
            size,
            read,
        })
    }

    /// Calls `visit` for each whole record that was not visited yet, at most `limit` times; says how many there were.
    pub(super) fn read(&mut self, limit: usize, mut visit: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        let end = self.producer.position().load(Ordering::Acquire);
        while count < limit && self.read != end {
            let word = self.header(self.read).load(Ordering::Acquire);
            if word & BUSY != 0 {
                break;
            }
            let length = (word & !DISCARDED) as usize;
            if word & DISCARDED == 0 {
                visit(self.bytes(self.read, length));
                count += 1;
            }
            self.read = self
                .read
                .wrapping_add((HEADER + length).next_multiple_of(HEADER));
        }
        count
    }

    /// Gives the room of all visited records back.
    pub(super) fn release(&mut self) {
        self.consumer.position().store(self.read, Ordering::Release);
    }

    /// Where a position lies in the mapping.
    fn at(&self, position: usize) -> usize {
        self.page + (position & (self.size - 1))
    }

    fn header(&self, position: usize) -> &AtomicU32 {
        // SAFETY: within the data, of which `at` makes a position; records are aligned to eight bytes, and the kernel
        // writes this word as a whole.
        unsafe { self.producer.base.add(self.at(position)).cast().as_ref() }
    }

    /// The bytes of a record.
    fn bytes(&self, position: usize, length: usize) -> &[u8] {
        let start = self.at(position) + HEADER;
        // SAFETY: a committed record lies within the data, which is mapped twice in a row, and the kernel does not write
        // to it before it is released, for which `self` must be borrowed mutably.
        unsafe { std::slice::from_raw_parts(self.producer.base.add(start).as_ptr(), length) }
    }
}
