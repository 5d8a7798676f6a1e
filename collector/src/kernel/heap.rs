//! The process's own memory.
#![expect(unsafe_code, reason = "the allocator offers it to C only")]

/// Has all threads allocate from one heap. glibc gives each its own, and what one frees there no other can use: a large
/// cluster, which one thread reads, another compiles and a third applies, then takes a quarter more. To be called before
/// there are threads. Does nothing with other allocators.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers and concerns heaps that are still to be made only.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Has the allocator give free memory back to the system. A first list leaves holes all over the heap, which glibc would
/// keep; others do it by themselves.
pub(crate) fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, changes nothing that is in use, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
