//! The allocator of the targets: it counts, and ends the process at a request that no input of some KiB justifies.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most a target may ask for at once, in bytes. Nothing here handles more than a page of 1 MiB and its copies; a decoder that
/// reserves what a length field announces asks for more at once.
const ONE_MAX_BYTES: usize = 64 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grown(bytes: usize) {
    if bytes > ONE_MAX_BYTES {
        // Not a panic: that would allocate. libFuzzer's handler of SIGABRT writes the input.
        std::process::abort();
    }
    let live = LIVE.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every request goes to `System` unchanged, whose promises are the trait's; the counters touch no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `at` came from `System` with this layout, as all of ours do.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        grown(bytes);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as in `dealloc`, and `bytes` is the caller's to vouch for.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// What `act` returns, and the most bytes it held at a time beyond what was held before. Targets have one thread.
pub fn peak_bytes<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = act();
    (result, PEAK.load(Relaxed).saturating_sub(before))
}
