//! The process's own memory.
#![expect(unsafe_code, reason = "the allocator offers it to C only")]

/// Has the allocator give free memory back to the system. A first list leaves holes all over the heap, which glibc would
/// keep; others do it by themselves.
pub(crate) fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers, changes nothing that is in use, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
