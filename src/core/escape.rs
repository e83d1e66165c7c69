//! Foreign text made safe to look at: what could move a cursor, set a terminal up or reorder what is read is written out.
//!
//! Names, command lines and output come from programs nobody vouches for. What stays is printable UTF-8 and the tab. What does not:
//!
//! ```text
//! C0 controls, DEL, and bytes that are no UTF-8      \x1b  \x0d  \xff
//! C1 controls                                        \u{009b}
//! marks that change the direction of text            \u{202e}
//! characters that take no room and hide              \u{200b}   (the two joiners that scripts and emoji need stay)
//! separators of lines that are no line feed          \u{2028}
//! ```
//! A backslash stays as it is, so the original cannot be told from the result: for that there are the bytes themselves.

/// What becomes of the sequences that only set colours and weight: `ESC [ digits ; : m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colours {
    /// They stay, for a terminal. Whoever writes the line ends it with [`RESET`] when told to.
    Keep,
    /// They vanish, for text that is searched.
    Drop,
    /// They are written out like every other control sequence.
    Escape,
}

/// Ends all colours.
pub const RESET: &[u8] = b"\x1b[0m";

/// The longest colour sequence that is taken for one, in bytes.
const COLOUR_MAX_BYTES: usize = 64;
/// Bytes that are judged at once; the compiler makes a few vector instructions of one such comparison.
const STRIDE: usize = 32;

/// Appends `text` to `out`, made safe; the result is valid UTF-8. Line feeds are escaped too: give it one line without its end.
/// True when a colour was kept, so that [`RESET`] belongs behind the line.
pub fn escape_into(text: &[u8], out: &mut Vec<u8>, colours: Colours) -> bool {
    let (mut rest, mut coloured) = (text, false);
    loop {
        let clean = clean_prefix(rest);
        out.extend_from_slice(&rest[..clean]);
        rest = &rest[clean..];
        let Some(first) = rest.first() else { return coloured };
        let colour = if colours == Colours::Escape { 0 } else { colour_len(rest) };
        let used = if colour > 0 {
            if colours == Colours::Keep {
                out.extend_from_slice(&rest[..colour]);
                coloured = true;
            }
            colour
        } else if let Some((code, used)) = decode(rest).filter(|(code, _)| *code >= 0x80) {
            push_code(out, code);
            used
        } else {
            push_byte(out, *first);
            1
        };
        rest = &rest[used..];
    }
}

/// One text made safe, for a cell of a table or a line of an error.
pub fn escaped(text: &str) -> String {
    if clean_prefix(text.as_bytes()) == text.len() {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    escape_into(text.as_bytes(), &mut out, Colours::Escape);
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a character controls, reorders or hides, and so does not reach a terminal; the tab does.
pub fn is_dangerous(c: char) -> bool {
    let code = u32::from(c);
    if code < 0x80 { c != '\t' && c.is_control() } else { dangerous(code) }
}

fn plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) || byte == b'\t'
}

/// Length of the longest beginning that needs no escape.
fn clean_prefix(text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() {
        let stride = text.get(at..at + STRIDE);
        if stride.is_some_and(|bytes| bytes.iter().fold(true, |all, byte| all & plain(*byte))) {
            at += STRIDE;
            continue;
        }
        let end = text.len().min(at + STRIDE);
        while at < end {
            let byte = text[at];
            at += match byte {
                _ if plain(byte) => 1,
                0x80.. => match decode(&text[at..]) {
                    Some((code, used)) if !dangerous(code) => used,
                    Some(_) | None => return at,
                },
                _ => return at,
            };
        }
    }
    at
}

/// The first character's code and its length in bytes; none where the bytes are no UTF-8.
fn decode(text: &[u8]) -> Option<(u32, usize)> {
    let next = |at: usize| text.get(at).filter(|byte| **byte & 0xc0 == 0x80).map(|byte| u32::from(byte & 0x3f));
    let lead = u32::from(*text.first()?);
    match lead {
        0..0x80 => Some((lead, 1)),
        0xc2..0xe0 => Some(((lead & 0x1f) << 6 | next(1)?, 2)),
        0xe0..0xf0 => {
            let code = (lead & 0x0f) << 12 | next(1)? << 6 | next(2)?;
            (code >= 0x800 && !(0xd800..0xe000).contains(&code)).then_some((code, 3))
        }
        0xf0..0xf5 => {
            let code = (lead & 0x07) << 18 | next(1)? << 12 | next(2)? << 6 | next(3)?;
            (0x1_0000..0x11_0000).contains(&code).then_some((code, 4))
        }
        _ => None,
    }
}

/// Characters from 0x80 on that control, reorder or hide.
fn dangerous(code: u32) -> bool {
    match code {
        0x80..0xa0 => true,                                                                     // C1
        0x061c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069 => true,                   // direction
        0x2028 | 0x2029 => true,                                                                // separators
        0x00ad | 0x034f | 0x180e | 0x200b | 0x2060..=0x2065 | 0x206a..=0x206f | 0xfeff => true, // no width
        0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x3164 | 0xffa0 => true,                            // blank fillers
        0xfff9..=0xfffb | 0xe0000..=0xe0fff => true,                                            // annotations and tags
        _ => false,
    }
}

/// Length of the colour sequence `text` begins with; 0 where there is none.
fn colour_len(text: &[u8]) -> usize {
    let [0x1b, b'[', rest @ ..] = text else { return 0 };
    let parameters = rest.iter().take(COLOUR_MAX_BYTES).take_while(|b| b.is_ascii_digit() || b";:".contains(b)).count();
    if rest.get(parameters) == Some(&b'm') { parameters + 3 } else { 0 }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

fn push_code(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(format!("\\u{{{code:04x}}}").as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(text: &[u8], colours: Colours) -> String {
        let mut out = Vec::new();
        escape_into(text, &mut out, colours);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_controls_is_written_out_and_what_is_text_stays() {
        for (text, shown) in [
            (&b"plain\ttext \\x"[..], "plain\ttext \\x"),
            ("naïve 日本 🦀 👩\u{200d}🔬".as_bytes(), "naïve 日本 🦀 👩\u{200d}🔬"),
            (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
            (b"a\rb\nc\x7f\0", r"a\x0db\x0ac\x7f\x00"),
            (b"\x9b2J \xff\xe2\x82", r"\x9b2J \xff\xe2\x82"),
            ("\u{9b}2J \u{202e}x\u{200b}\u{2028}".as_bytes(), r"\u{009b}2J \u{202e}x\u{200b}\u{2028}"),
            (b"\xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80", r"\xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80"),
        ] {
            assert_eq!(safe(text, Colours::Escape), shown);
        }
    }

    #[test]
    fn only_colours_are_kept_or_dropped() {
        let text = b"\x1b[1;31mred\x1b[0m \x1b[38:2:1:2:3mx \x1b[2J \x1b[?25m \x1b[";
        assert_eq!(safe(text, Colours::Drop), r"red x \x1b[2J \x1b[?25m \x1b[");
        assert!(safe(text, Colours::Keep).starts_with("\x1b[1;31mred\x1b[0m "));
        assert_eq!(safe(b"\x1b[m", Colours::Escape), r"\x1b[m");
        let mut endless = b"\x1b[".to_vec();
        endless.extend([b'1'; 100]);
        endless.push(b'm');
        assert!(safe(&endless, Colours::Keep).starts_with(r"\x1b[1"));
        let mut out = Vec::new();
        assert!(escape_into(b"\x1b[31mred", &mut out, Colours::Keep));
        assert!(!escape_into(b"\x1b[31mred", &mut out, Colours::Drop));
    }

    proptest! {
        #[test]
        fn nothing_dangerous_remains_whatever_comes(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let shown = safe(&text, Colours::Escape);
            prop_assert!(shown.chars().all(|c| !is_dangerous(c)));
        }

        #[test]
        fn clean_text_is_unchanged_and_escaping_is_done_once(text in "\\PC{0,200}") {
            let once = escaped(&text);
            prop_assert_eq!(&escaped(&once), &once);
            if !text.chars().any(is_dangerous) {
                prop_assert_eq!(once, text);
            }
        }

        #[test]
        fn utf8_is_judged_as_the_standard_library_does(text in proptest::collection::vec(0x70u8..=0xff, 0..40)) {
            let ours = decode(&text).map(|(code, used)| (char::from_u32(code), used));
            let valid = (1..=text.len().min(4)).find_map(|n| std::str::from_utf8(&text[..n]).ok());
            prop_assert_eq!(ours, valid.map(|s| (s.chars().next(), s.len())));
        }
    }
}
