//! One spool, played as if its watcher were linked.

use tokio::sync::mpsc;
use zerovisor_core::holes::Holes;
use zerovisor_core::id::Id;
use zerovisor_core::record::Record;
use zerovisor_core::units::Timestamp;
use zerovisor_core::view::Happening;
use zerovisor_core::wire::{Refusal, WatcherHello};

use crate::node::hub::Declared;
use crate::node::scribe::{Break, Opening, Receipt, now_us};
use crate::node::session::{Node, check};
use crate::spool::{Left, SpoolError};

/// Bytes of a spool that are read at once, and on their way to the journal, at most; then its receipt is waited for.
const BATCH_BYTES: usize = 1 << 20;

/// Why a spool was not taken in. It stays as it is, and is looked at again.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlayError {
    /// It cannot be read or removed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// It is of another process than its name says.
    #[error("the spool of {named} says to be of {says}")]
    Foreign {
        /// By its name.
        named: Id,
        /// By what is in it.
        says: Id,
    },
    /// Its declaration is none.
    #[error("the spool of {id} has a {why}")]
    Declaration {
        /// Whose.
        id: Id,
        /// What is wrong.
        why: String,
    },
    /// The registry does not take it.
    #[error("the spool of {id} is not taken in: {refusal}")]
    Refused {
        /// Whose.
        id: Id,
        /// Why not.
        refusal: Refusal,
    },
    /// The journal does not take it.
    #[error("the spool of {id} is not taken in yet: {why}")]
    Journal {
        /// Whose.
        id: Id,
        /// Why not.
        why: String,
    },
    /// The link of its watcher has not ended, or a removal came between: it is looked at again at once.
    #[error("the process {0} was let go meanwhile")]
    LetGo(Id),
    /// What read it has panicked, which was reported where it did.
    #[error("taking it in failed inside the zerovisor: please report this")]
    Panicked,
    /// The node ends.
    #[error("the zerovisor is ending")]
    Ending,
}

/// What was new in a spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct New {
    bytes: u64,
    records: u64,
}

/// Takes a spool in and removes it. A crash at any moment leaves it, or leaves nothing of it that the journal has not: what the journal
/// has is passed over by the next who takes it in.
///
/// # Errors
/// [`PlayError`]; the spool is as it was.
pub(super) async fn play(node: &Node, named: Id, left: Left) -> Result<(), PlayError> {
    let mut hello = Box::new(left.meta().hello.clone());
    let id = hello.id;
    if id != named {
        return Err(PlayError::Foreign { named, says: id });
    }
    check(&hello).map_err(|error| PlayError::Declaration { id, why: error.to_string() })?;
    // Nobody is there who could choose another name.
    hello.welcomed_before = true;
    let until = Until::of(&hello, left.kept_from());
    let declared = match node.hub.inherit(hello).await.ok_or(PlayError::Ending)? {
        Ok(declared) => declared,
        Err(Refusal::Removed) => {
            tracing::info!(%id, "what the watcher of a removed process left is removed, too");
            return removed(left).await;
        }
        Err(Refusal::Busy(_)) => return Err(PlayError::LetGo(id)),
        Err(refusal @ (Refusal::Versions { .. } | Refusal::NameTaken { .. } | Refusal::NotYours(_))) => {
            return Err(PlayError::Refused { id, refusal });
        }
    };
    let (generation, name) = (declared.generation, declared.name.clone());
    let fed = feed(node, id, declared, until, left).await;
    if let Ok((New { bytes, records: records @ 1.. }, _)) = fed {
        tracing::info!(%name, %id, bytes, records, "took in what was kept while no zerovisor was here");
        node.scribe.note(Timestamp(now_us()), Some((id, name)), Happening::TookIn { bytes, records });
    }
    // Its spool is the last that knows of its death, until that is on record too.
    node.hub.inherited(id, generation, fed.is_ok()).await.ok_or(PlayError::Ending)?;
    // The scribe's thread writes that, and answers in order.
    let _sizes = node.scribe.sizes(id).await;
    removed(fed?.1).await
}

async fn removed(left: Left) -> Result<(), PlayError> {
    Ok(blocking(move || left.remove()).await??)
}

/// What a spool is to bring, by what its watcher said.
#[derive(Clone, Copy, Debug)]
struct Until {
    kept_from: u64,
    /// Behind the last one; none: it did not come to say that.
    next_seq: Option<u64>,
}

impl Until {
    fn of(hello: &WatcherHello, kept_from: u64) -> Until {
        // Only who leaves with its process ended says where that stands; of others what is behind is unknown, and shown as that.
        Until { kept_from, next_seq: (!hello.state.is_live()).then_some(hello.next_seq) }
    }
}

/// Appends what the journal has not, and waits for its receipts.
async fn feed(node: &Node, id: Id, declared: Declared, until: Until, mut left: Left) -> Result<(New, Left), PlayError> {
    let (receipts, received) = mpsc::unbounded_channel();
    let opening = Opening { id, name: declared.name, receipts, written: declared.written };
    let opened = node.scribe.open(opening).await.ok_or(PlayError::Ending)?;
    let opened = opened.map_err(|error| PlayError::Journal { id, why: error.to_string() })?;
    let mut journal = Journal { node, id, received, new: New::default() };
    let (mut holes, mut after, mut bad) =
        (Holes::behind(opened.journal_end, until.kept_from), opened.journal_end, None);
    loop {
        let batch;
        (left, batch) = blocking(move || left.next_batch(after, BATCH_BYTES).map(|batch| (left, batch))).await??;
        // One that does not get on has said all it can.
        let Some(last) = batch.last().map(|record| record.head.seq).filter(|last| *last > after) else { break };
        after = last;
        let mut whole = Vec::with_capacity(batch.len());
        for record in batch {
            if let Err(why) = holes.push(record, &mut whole) {
                bad.get_or_insert(why);
            }
        }
        journal.take(whole).await?;
    }
    let mut rest = Vec::new();
    if let Some(next_seq) = until.next_seq
        && let Err(why) = holes.finish(next_seq, Timestamp(now_us()), &mut rest)
    {
        bad.get_or_insert(why);
    }
    journal.take(rest).await?;
    if let Some(why) = bad {
        tracing::warn!(%id, %why, "records of a spool cannot be used, gaps stand for them");
    }
    Ok((journal.new, left))
}

/// The way into the journal of one process.
struct Journal<'a> {
    node: &'a Node,
    id: Id,
    received: mpsc::UnboundedReceiver<Receipt>,
    new: New,
}

impl Journal<'_> {
    /// Appends records and waits until they are journaled.
    async fn take(&mut self, records: Vec<Record>) -> Result<(), PlayError> {
        let Some(last) = records.last().map(|record| record.head.seq) else { return Ok(()) };
        let id = self.id;
        for record in records {
            self.new.records += 1;
            self.new.bytes += if record.head.kind.is_output() { record.payload.len() as u64 } else { 0 };
            self.node.scribe.append(id, record);
        }
        loop {
            match self.received.recv().await {
                Some(Receipt::Journaled { seq, .. }) if seq >= last => return Ok(()),
                Some(Receipt::Journaled { .. }) => {}
                Some(Receipt::Broken(why @ (Break::Disk(_) | Break::Violation(_)))) => {
                    return Err(PlayError::Journal { id, why: why.to_string() });
                }
                // Removed by somebody.
                None => return Err(PlayError::LetGo(id)),
            }
        }
    }
}

/// Does what may wait for the disk where that hurts nobody.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PlayError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| if error.is_panic() { PlayError::Panicked } else { PlayError::Ending })
}
