//! `zvctl send`: words and keys are typed, standard input is written as it is.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use zerovisor_core::address::{Address, Selection};
use zerovisor_core::keys::{Key, KeyCode};
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Ask, Deed};

use super::Asker;
use super::deed::{Fate, Words, gather_one, tell};
use crate::ctl::cli::Send;
use crate::ctl::client::{Client, Wake};
use crate::ctl::error::CtlError;

/// Input goes in pieces of this size, so that several fit the queue of a watcher (1 MiB): it is refilled before it runs dry.
const PIECE_BYTES: usize = 256 << 10;
/// How long a full queue is left alone at first: at 10 ms a program may read 25 MB/s through it.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long at most, for a program that does not read at all.
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(250);

const WORDS: Words = Words { to_do: "write to", done: "written to", already: "written to" };

/// Writes to a process's standard input.
///
/// # Errors
/// It was not written, or not all of it.
pub async fn run(asker: &Asker, args: &Send) -> Result<(), CtlError> {
    let dash = args.text.len() == 1 && args.text[0] == "-";
    let piped = args.text.is_empty() && args.keys.is_empty() && !io::stdin().is_terminal();
    let mut client = asker.client().await?;
    if dash || piped {
        return pipe(asker, &mut client, args).await;
    }
    if args.text.is_empty() && args.keys.is_empty() && !args.eof {
        return Err(CtlError::Usage("nothing to send: give TEXT, --key KEY, or - for standard input, or --eof".into()));
    }
    let (mut to, mut rest) = (args.name.clone(), Bytes::from(args.text.join(" ")));
    while rest.len() > PIECE_BYTES {
        let piece = rest.split_to(PIECE_BYTES);
        put(asker, &mut client, &mut to, Deed::Input { eof: false }, piece).await?;
    }
    let keys = keys(args)?;
    if !keys.is_empty() {
        put(asker, &mut client, &mut to, Deed::Keys { keys }, std::mem::take(&mut rest)).await?;
    }
    if !rest.is_empty() || args.eof {
        put(asker, &mut client, &mut to, Deed::Input { eof: args.eof }, rest).await?;
    }
    Ok(())
}

/// The keys behind the words: those given, or Enter.
fn keys(args: &Send) -> Result<Vec<Key>, CtlError> {
    if !args.keys.is_empty() || args.no_newline || args.text.is_empty() {
        return Ok(args.keys.clone());
    }
    let enter = Key::new(KeyCode::Enter, 0).map_err(|error| CtlError::Usage(error.to_string()))?;
    Ok(vec![enter])
}

/// One piece, and its answer before the next: so they stay in order, and a process that does not read holds us up as a pipe would.
/// From the first answer on `to` is the id of whoever took it: the rest is for the same process, not for a later one of its name.
async fn put(asker: &Asker, client: &mut Client, to: &mut Address, deed: Deed, piece: Bytes) -> Result<(), CtlError> {
    let select = Selection { addresses: vec![to.clone()], labels: Vec::new() };
    let ask = Ask::Do { select: select.clone(), deed };
    let mut pause = BUSY_PAUSE;
    loop {
        let reply = match client.deliver(ask.clone(), piece.clone()).await {
            Ok(reply) => Ok(reply),
            Err(CtlError::Failed(failure)) => Err(failure),
            Err(error) => return Err(error),
        };
        let (fates, nodes): (_, Nodes) = gather_one(&select, reply);
        if let [Fate { id: Some(id), .. }] = fates[..] {
            *to = id.into();
        }
        if !fates.iter().any(Fate::is_busy) {
            return tell(asker, &fates, &nodes, WORDS);
        }
        // Nothing of the piece was taken, so that it can be offered again once the program may have read some of what waits.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BUSY_PAUSE_MAX);
    }
}

async fn pipe(asker: &Asker, client: &mut Client, args: &Send) -> Result<(), CtlError> {
    let (mut to, mut pieces) = (args.name.clone(), read_stdin());
    loop {
        // Reading may take hours; the link is kept meanwhile.
        let piece = loop {
            let wake: Wake = tokio::select! {
                piece = pieces.recv() => break piece,
                wake = client.wake() => wake,
            };
            client.on(wake).await?;
        };
        match piece {
            Some(Ok(piece)) => put(asker, client, &mut to, Deed::Input { eof: false }, piece).await?,
            Some(Err(error)) => return Err(CtlError::io("read standard input", error)),
            None if args.eof => return put(asker, client, &mut to, Deed::Input { eof: true }, Bytes::new()).await,
            None => return Ok(()),
        }
    }
}

/// A thread that reads standard input, a piece ahead of the link.
fn read_stdin() -> mpsc::Receiver<io::Result<Bytes>> {
    let (send, pieces) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let piece = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => Ok(Bytes::copy_from_slice(&buffer[..read])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if send.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    pieces
}
