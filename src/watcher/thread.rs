//! Work done beside the watcher's one task, each on a thread that ends with it.

use std::sync::{Arc, mpsc};
use std::thread;

use tokio::sync::Notify;

/// Rings when the work is done, however: with the thread that had it.
#[derive(Debug)]
pub(super) struct Bell(pub(super) Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Runs `work` on a thread of its own with a stack of this many bytes; gives it back where there is none to be had (RLIMIT_NPROC,
/// `pids.max`). The runtime's pool would panic then.
pub(super) fn on_a_thread<W: Send + 'static>(
    name: &str,
    stack_bytes: usize,
    work: W,
    run: impl Fn(W) + Send + 'static,
) -> Result<(), W> {
    let (hand_over, handed) = mpsc::channel::<W>();
    // It gets its work once it is there: what is given to a thread that cannot be made is lost.
    let run = move || handed.into_iter().for_each(run);
    match thread::Builder::new().name(name.into()).stack_size(stack_bytes).spawn(run) {
        Ok(_) => hand_over.send(work).map_err(|mpsc::SendError(work)| work),
        Err(_) => Err(work),
    }
}
