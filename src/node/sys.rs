//! The one thing here that the C library must be asked for directly.
#![allow(unsafe_code, reason = "mallopt has no safe wrapper")]

/// Blocks up to this size come from the heap, in bytes; glibc takes at most 32 MiB.
const FROM_HEAP_BYTES: i32 = 8 << 20;
/// So much of the heap may lie free at its top, in bytes.
const KEPT_BYTES: i32 = 64 << 20;

/// Keeps freed memory for the next chunk of output. By default each chunk of 256 KiB would be mapped, zeroed page by page by the kernel,
/// and unmapped again: a tenth of the CPU of a busy zerovisor.
pub(super) fn keep_freed_memory() {
    // SAFETY: mallopt takes two integers and changes only how the allocator behaves from now on; it is called before any thread exists.
    let kept = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_HEAP_BYTES) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) == 1
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
    use std::process::Command;

    /// Set in the process that has the test to itself: the resident set of a whole process is measured.
    const ALONE: &str = "ZV_TEST_ALONE";

    #[test]
    fn memory_is_kept_and_given_back() {
        if std::env::var_os(ALONE).is_none() {
            let own = std::env::current_exe().unwrap();
            let test = ["--exact", "node::sys::tests::memory_is_kept_and_given_back", "--test-threads", "1"];
            let output = Command::new(own).args(test).env(ALONE, "1").env("MALLOC_ARENA_MAX", "1").output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && told.contains("1 passed"), "{told}");
            return;
        }
        let resident = || procfs::process::Process::myself().and_then(|own| own.statm()).unwrap().resident;
        super::keep_freed_memory();
        let before = resident();
        drop([vec![1u8; 7 << 20], vec![1u8; 7 << 20], vec![1u8; 7 << 20]]);
        let kept = resident();
        super::give_memory_back();
        assert!(kept > before + 2048, "{before} {kept}");
        assert!(resident() < kept - 2048, "{before} {kept} {}", resident());
    }
}
