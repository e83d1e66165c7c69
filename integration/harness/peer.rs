//! A peer written by hand, byte by byte, so that it can say what none of our programs would.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zerovisor_core::fact::State;
use zerovisor_core::id::Id;
use zerovisor_core::spec::Spec;
use zerovisor_core::stats::{Placement, Rung};
use zerovisor_core::units::Timestamp;
use zerovisor_core::wire::{self, Hello, HostProof, Role, ToNode, ToPeer, VERSIONS, WatcherHello};

/// How long a peer waits for a word.
const PATIENCE: Duration = Duration::from_secs(10);

const MORE: u8 = 1;
const LONG: u8 = 2;

/// The READY command of a DEALER.
pub(crate) const READY: &[u8] = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER";

/// The READY command of a ROUTER.
const ROUTER_READY: &[u8] = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER";

/// The 64 bytes every ZMTP 3 peer begins with.
pub(crate) fn greeting() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    (bytes[0], bytes[9], bytes[10]) = (0xff, 0x7f, 3);
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// Where a zerovisor listens.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Ipc(PathBuf),
    Tcp(u16),
}

trait Stream: Read + Write + Send {
    fn finish(&self) -> io::Result<()>;
    fn be_patient(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn be_patient(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Stream for TcpStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn be_patient(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

/// A connection on which anything can be said.
pub(crate) struct Peer(Box<dyn Stream>);

impl Peer {
    /// Connects and says nothing.
    pub(crate) fn silent(door: &Door) -> Peer {
        Peer::connected(door).unwrap()
    }

    /// The same where nobody may be let in.
    pub(crate) fn connected(door: &Door) -> io::Result<Peer> {
        match door {
            Door::Ipc(path) => Peer::on_unix(UnixStream::connect(path)?),
            Door::Tcp(port) => Peer::on_tcp(TcpStream::connect(("127.0.0.1", *port))?),
        }
    }

    /// On a stream that is connected.
    pub(super) fn on_unix(stream: UnixStream) -> io::Result<Peer> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer(Box::new(stream)))
    }

    /// Likewise.
    pub(super) fn on_tcp(stream: TcpStream) -> io::Result<Peer> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer(Box::new(stream)))
    }

    /// Connects and shakes hands as a DEALER.
    pub(crate) fn greeted(door: &Door) -> Peer {
        Peer::try_greeted(door).unwrap()
    }

    /// The same where nobody may be let in.
    pub(crate) fn try_greeted(door: &Door) -> io::Result<Peer> {
        let mut peer = Peer::connected(door)?;
        peer.shakes_hands(READY)?;
        Ok(peer)
    }

    /// Connects and shakes hands as a DEALER that gives itself an identity.
    pub(crate) fn greeted_as(door: &Door, identity: &[u8]) -> Peer {
        let mut peer = Peer::connected(door).unwrap();
        let length = u32::try_from(identity.len()).unwrap().to_be_bytes();
        let body = [&READY[2..], b"\x08Identity", &length, identity].concat();
        let ready = [&[4, u8::try_from(body.len()).unwrap()], &body[..]].concat();
        peer.shakes_hands(&ready).unwrap();
        peer
    }

    /// Shakes hands as a ROUTER with whoever has connected to us.
    pub(crate) fn greets_back(&mut self) -> io::Result<()> {
        self.shakes_hands(ROUTER_READY)
    }

    fn shakes_hands(&mut self, ready: &[u8]) -> io::Result<()> {
        self.0.write_all(&[&greeting(), ready].concat())?;
        let mut theirs = [0; 64];
        self.0.read_exact(&mut theirs)?;
        let (flags, body) = self.frame()?;
        assert!(flags & 4 != 0 && body.starts_with(b"\x05READY"), "{body:?}");
        Ok(())
    }

    /// Writes bytes; that the other side has closed already is no failure.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// The other side has closed, or has not read for a while.
    pub(crate) fn try_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, message: &impl Serialize, payload: Option<&[u8]>) {
        let _ = self.try_say(message, payload);
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other side has closed, or has not read for a while.
    pub(crate) fn try_say(&mut self, message: &impl Serialize, payload: Option<&[u8]>) -> io::Result<()> {
        let header = wire::encode_header(message).unwrap();
        let mut bytes = frame(if payload.is_some() { MORE } else { 0 }, &header);
        if let Some(payload) = payload {
            bytes.extend(frame(0, payload));
        }
        self.try_bytes(&bytes)
    }

    /// Says that it is there.
    pub(crate) fn ping(&mut self) {
        self.say(&ToNode::Ping { nonce: 0 }, None);
    }

    /// The next message of the zerovisor; none once it has closed the link.
    pub(crate) fn hear(&mut self) -> Option<(ToPeer, Vec<u8>)> {
        self.hears()
    }

    /// The next message of the other side, whoever that is; none once it has closed the link.
    pub(crate) fn hears<T: DeserializeOwned>(&mut self) -> Option<(T, Vec<u8>)> {
        let (flags, header) = self.frame().ok()?;
        let payload = if flags & MORE != 0 { self.frame().ok()?.1 } else { Vec::new() };
        Some((wire::decode_header(&header).unwrap(), payload))
    }

    /// Waits until the other side closes, whatever it says before.
    pub(crate) fn meets_its_end(mut self) {
        self.is_left();
    }

    /// The same, and stays.
    pub(crate) fn is_left(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.0.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the zerovisor keeps the link: {error}"),
            }
        }
    }

    /// Passes over what the other side says, until it closes or has said nothing for so long.
    pub(crate) fn hears_nothing_for(&mut self, silence: Duration) {
        self.0.be_patient(silence).unwrap();
        while self.0.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
        self.0.be_patient(PATIENCE).unwrap();
    }

    /// Says that nothing more comes, and waits until the other side closes too.
    pub(crate) fn hangs_up(self) {
        let _ = self.0.finish();
        self.meets_its_end();
    }

    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut prefix = [0; 2];
        self.0.read_exact(&mut prefix)?;
        let length = if prefix[0] & LONG == 0 {
            usize::from(prefix[1])
        } else {
            let mut rest = [0; 7];
            self.0.read_exact(&mut rest)?;
            let high = usize::from(prefix[1]) << 56;
            rest.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) | high
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((prefix[0], body))
    }
}

/// One frame, as it stands on the wire.
pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags | LONG];
    bytes.extend((body.len() as u64).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A hello in this role.
pub(crate) fn hello(role: Role) -> ToNode {
    ToNode::Hello(Hello { versions: VERSIONS, program: "story 1".into(), role })
}

/// The hello of a new watcher.
pub(crate) fn watcher_hello(id: Id, secret: u8, name: &str) -> WatcherHello {
    WatcherHello {
        id,
        secret: [secret; 32],
        welcomed_before: false,
        spec: Spec::new(name.parse().unwrap(), vec!["story".into()]),
        created_at: Timestamp(1),
        host: HostProof::default(),
        first_seq: 1,
        next_seq: 1,
        state: State::Running,
        placement: Placement { rung: Rung::None, why: "no cgroup".into() },
    }
}
