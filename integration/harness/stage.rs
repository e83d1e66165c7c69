//! A zerovisor that says exactly what a story says, behind the real door: it welcomes, answers pings and farewells by itself.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zerovisor::net::{Acceptor, Admission, Frames, Link};
use zerovisor_core::view::Nodes;
use zerovisor_core::wire::{Answer, Ask, ToNode, ToPeer, VERSIONS, View, Welcome, decode_header, encode_header};

use super::wait::SOON;

enum Word {
    Say(Box<ToPeer>, Bytes),
    HangUp,
}

/// The zerovisor; it ends with the story.
pub(crate) struct Stage {
    words: Option<UnboundedSender<Word>>,
    heard: Receiver<(ToNode, Bytes)>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// Serves at the default endpoint of a directory, one client at a time.
    pub(crate) fn at(dir: &Path) -> Stage {
        let endpoint = format!("ipc://{}", dir.join("zerovisor.sock").display()).parse().unwrap();
        let mut door = Acceptor::bind(&endpoint, Admission::default()).unwrap();
        let (words, mut said) = unbounded_channel();
        let (tell, heard) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                loop {
                    let link = tokio::select! {
                        link = door.accept() => link.unwrap(),
                        word = said.recv() => if word.is_none() { return } else { continue },
                    };
                    if !serve(link, &mut said, &tell).await {
                        return;
                    }
                }
            });
        });
        Stage { words: Some(words), heard, thread: Some(thread) }
    }

    fn word(&self, word: Word) {
        self.words.as_ref().unwrap().send(word).unwrap();
    }

    pub(crate) fn answers(&self, request: u64, answer: Answer, payload: &[u8]) {
        self.word(Word::Say(Box::new(ToPeer::Answer { request, answer }), Bytes::copy_from_slice(payload)));
    }

    pub(crate) fn views(&self, request: u64, view: View, payload: &[u8]) {
        self.answers(request, Answer::View(view), payload);
    }

    /// The whole of an answer.
    pub(crate) fn answers_all(&self, request: u64, answer: Answer, payload: &[u8]) {
        self.answers(request, answer, payload);
        self.ends(request);
    }

    pub(crate) fn ends(&self, request: u64) {
        self.answers(request, Answer::End(Nodes::only("n1".parse().unwrap())), b"");
    }

    /// Cuts the link without a word.
    pub(crate) fn hangs_up(&self) {
        self.word(Word::HangUp);
    }

    /// Is gone, with its socket.
    pub(crate) fn ends_for_good(&mut self) {
        drop(self.words.take());
        self.thread.take().unwrap().join().unwrap();
    }

    /// What the client says next, within a time.
    pub(crate) fn hears_within(&self, within: Duration) -> Option<(ToNode, Bytes)> {
        match self.heard.recv_timeout(within) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the stage is gone"),
        }
    }

    pub(crate) fn hears(&self) -> (ToNode, Bytes) {
        self.hears_within(SOON).expect("the client says something")
    }

    /// The next thing the client asks; whatever else it says is passed over.
    pub(crate) fn asked(&self) -> (u64, Ask, Bytes) {
        loop {
            if let (ToNode::Request(asked), payload) = self.hears() {
                return (asked.request, asked.ask, payload);
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.words.take());
    }
}

/// Until the link ends; false when the story has.
async fn serve(
    mut link: Link,
    words: &mut UnboundedReceiver<Word>,
    tell: &std::sync::mpsc::Sender<(ToNode, Bytes)>,
) -> bool {
    loop {
        tokio::select! {
            frames = link.rx.recv() => {
                let Ok(frames) = frames else { return true };
                let said = decode_header::<ToNode>(&frames.header).unwrap();
                let Some(answer) = by_itself(&said) else {
                    if tell.send((said, frames.payload.unwrap_or_default())).is_err() {
                        return false;
                    }
                    continue;
                };
                let _ = link.tx.send(Frames { header: encode_header(&answer).unwrap(), payload: None }).await;
            }
            word = words.recv() => match word {
                Some(Word::Say(message, payload)) => {
                    let payload = Some(payload).filter(|payload| !payload.is_empty());
                    let _ = link.tx.send(Frames { header: encode_header(&*message).unwrap(), payload }).await;
                }
                Some(Word::HangUp) => return true,
                None => return false,
            }
        }
    }
}

/// What is answered without the story.
fn by_itself(said: &ToNode) -> Option<ToPeer> {
    if let ToNode::Ping { nonce } = said {
        return Some(ToPeer::Pong { nonce: *nonce });
    }
    if *said == ToNode::Goodbye {
        return Some(ToPeer::Farewell);
    }
    let welcome =
        || Welcome { version: VERSIONS.newest, node: "n1".parse().unwrap(), program: "stage".into(), watcher: None };
    matches!(said, ToNode::Hello(_)).then(|| ToPeer::Welcome(welcome()))
}
