//! A program's bytes to a screen: the model never fails, stays small and answers little; the pieces make no difference; and at any
//! moment its picture brings another terminal, whatever that shows, to the same state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zerovisor_fuzz::peak_bytes;
use zerovisor_pty::screen::{ANSWERS_MAX_BYTES, Screen, leave};

/// Sizes are of this many cells a side at most.
const SIDE_MAX: u16 = 100;
/// The most a model of that size may take, in bytes, whatever it is fed: two grids, copies of them while it is resized, and pictures.
const MODEL_MAX_BYTES: usize = 24 << 20;
/// Never in UTF-8: followed by two bytes, a new size.
const RESIZE: u8 = 0xff;
/// Leaves a terminal in an odd state, but sets no title and no palette: those are not a picture's to clear.
const MESS: &[u8] = b"\x1b[2;5r\x1b[?6h\x1b[4h\x1b(0\x1b)0\x0e\x1b[7;31mjunk\x1b[?25l\x1b[?1003h\x1b[?7l\x1b[3g\x1b[?1h\x1b=\x1b[>31u\
    \x1b[?1049h\x1b[>31u\x1b[20h\x1b[5 q\x1b[?5h\x1b7junk\x1b]8;;http://x\x07junk\x1b[?2026h\x1b[>4;2m\x1b]52;c;never ended";
/// What shows state that a picture might leave out, as both pictures would: tab stops, region, saved cursor, charsets, autowrap.
const PROBE: &[u8] = b"\t1\t2\r\n\tq\x1b8p\x0eq\x0fq\t3\t4\x1b[99Cww\x1bMm\n\n";

struct Fed {
    screen: Screen,
    answers: Vec<u8>,
}

impl Fed {
    fn new((cols, rows): (u16, u16)) -> Fed {
        Fed { screen: Screen::new(cols, rows), answers: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.screen.feed(bytes, &mut self.answers);
        assert_eq!(self.screen.failures(), 0);
    }

    /// Feeds a stream with its resizes, `piece` bytes at a time.
    fn run(&mut self, stream: &[u8], piece: usize) {
        let mut rest = stream;
        while !rest.is_empty() {
            if let [RESIZE, cols, rows, behind @ ..] = rest {
                self.screen.resize(side(*cols), side(*rows));
                assert_eq!(self.screen.failures(), 0);
                rest = behind;
                continue;
            }
            let plain = rest.iter().skip(1).position(|byte| *byte == RESIZE).map_or(rest.len(), |at| at + 1);
            self.feed(&rest[..plain.min(piece)]);
            rest = &rest[plain.min(piece)..];
        }
    }

    /// All that is promised of a screen, in one order.
    fn state(&mut self) -> String {
        let picture = self.screen.picture();
        assert_eq!(self.screen.failures(), 0);
        let beyond = picture.strip_prefix(leave()).expect("a picture begins with leave");
        let rows = self.screen.rows_ansi().join("\n");
        format!("{rows}\n{:?}\n{}", self.screen.cursor(), beyond.escape_ascii().to_string().replace("\\x1b", "\n^"))
    }
}

fn side(byte: u8) -> u16 {
    u16::from(byte) % SIDE_MAX
}

fn held_to_its_promises(size: (u16, u16), piece: usize, stream: &[u8]) {
    let mut whole = Fed::new(size);
    whole.run(stream, usize::MAX);
    assert!(whole.answers.len() <= ANSWERS_MAX_BYTES);
    let state = whole.state();
    let mut pieced = Fed::new(size);
    pieced.run(stream, piece);
    assert_eq!(pieced.state(), state, "in pieces of {piece}");
    assert_eq!(pieced.answers, whole.answers);
    let (cols, rows) = whole.screen.size();
    pieced.feed(PROBE);
    let probed = pieced.state();
    for before in [&b""[..], MESS] {
        let mut copy = Fed::new((cols, rows));
        copy.feed(before);
        copy.answers.clear();
        copy.feed(&whole.screen.picture());
        assert!(copy.answers.is_empty(), "a picture asks nothing");
        assert_eq!(copy.state(), state);
        copy.feed(PROBE);
        assert_eq!(copy.state(), probed, "what follows a picture");
    }
    let frame = whole.screen.frame_for(rows, cols);
    Fed::new((rows, cols)).feed(&frame);
    assert_eq!(whole.screen.rows_text().len(), usize::from(rows));
    assert!(whole.screen.title().is_none_or(|title| !title.chars().any(char::is_control)));
}

fuzz_target!(|input: &[u8]| {
    let [cols, rows, piece, stream @ ..] = input else { return };
    let ((), peak) =
        peak_bytes(|| held_to_its_promises((side(*cols), side(*rows)), usize::from(*piece).max(1), stream));
    assert!(peak <= MODEL_MAX_BYTES, "{peak} bytes");
});
