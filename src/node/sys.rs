//! The one thing here that the C library must be asked for directly.
#![allow(unsafe_code, reason = "mallopt has no safe wrapper")]

/// Blocks up to this size come from the heap, and so much of it may lie free, in bytes.
const KEPT_BYTES: i32 = 64 << 20;

/// Keeps freed memory for the next chunk of output. By default each chunk of 256 KiB would be mapped, zeroed page by page by the kernel,
/// and unmapped again: a tenth of the CPU of a busy zerovisor.
pub(super) fn keep_freed_memory() {
    // SAFETY: mallopt takes two integers and changes only how the allocator behaves from now on; it is called before any thread exists.
    let kept = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES) == 1 && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) == 1
    };
    if !kept {
        tracing::debug!("the allocator keeps its own ways");
    }
}

/// Gives freed memory back to the system, once nothing needs it.
pub(super) fn give_memory_back() {
    // SAFETY: malloc_trim takes an integer, locks what it touches, and may be called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_kept_and_given_back() {
        let resident = || procfs::process::Process::myself().and_then(|own| own.statm()).unwrap().resident;
        super::keep_freed_memory();
        let before = resident();
        drop(vec![1u8; 32 << 20]);
        let kept = resident();
        super::give_memory_back();
        // Other tests run beside this one: what they take is far less than 32 MiB.
        assert!(kept > before + 4096, "{before} {kept}");
        assert!(resident() < kept - 4096);
    }
}
