//! Where a run begins in the stream of its process: its facts tell, so that nothing of the runs before is read.

use zerovisor_core::fact::Fact;
use zerovisor_core::id::Id;
use zerovisor_core::wire;

use super::client::Stop;
use super::scribe::Which;
use super::session::Node;
use super::store::is_passable;

/// Bytes one read takes at most.
const READ_BYTES: usize = 256 << 10;

/// The record a run begins with; 1, the first there ever was, where the facts do not tell.
///
/// # Errors
/// [`Stop`].
pub(super) async fn first_seq(node: &Node, id: Id, wanted: u32) -> Result<u64, Stop> {
    let Ok(mut facts) = node.scribe.reader(Which::Facts(id)).await.ok_or(Stop::Gone)? else { return Ok(1) };
    let found = tokio::task::spawn_blocking(move || {
        loop {
            let batch = match facts.next_batch(READ_BYTES) {
                Ok(batch) if batch.is_empty() => return 1,
                Ok(batch) => batch,
                Err(error) if is_passable(&error) => continue,
                Err(_) => return 1,
            };
            let begins = |fact: &Fact| matches!(fact, Fact::Started { run, .. } if *run == wanted);
            let first = batch.iter().find(|record| wire::decode_fact(&record.payload).is_ok_and(|fact| begins(&fact)));
            if let Some(first) = first {
                return first.meta.seq;
            }
        }
    });
    found.await.map_err(|_| Stop::Gone)
}
