//! Keys by name, and the bytes a terminal sends for them.
//!
//! Names are those of tmux's `send-keys`: `Enter`, `C-c`, `M-x`, `C-Up`, `S-F5`, or any single character; `Ctrl-C`, `Alt-x` and `^C` are
//! understood too. Bytes are those of xterm in its default setting (XTerm Control Sequences, "PC-Style Function Keys" and "VT220-Style
//! Function Keys"). A combination that a terminal has no bytes of its own for, such as `C-Enter`, is refused when it is read: sending
//! the plain key in its place would be a surprise.

mod name;

use serde::{Deserialize, Serialize};

const ESC: u8 = 0x1b;

/// Modifiers as xterm counts them: its parameter is one more than their sum.
const SHIFT: u8 = 1;
const META: u8 = 2;
const CONTROL: u8 = 4;
const ALL_BUT_SHIFT: u8 = META | CONTROL;

/// The key itself, without modifiers. Goes over the wire by position: variants are only ever appended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the name on the key")]
pub enum KeyCode {
    /// A character that is no control.
    Char(char),
    Enter,
    Escape,
    Tab,
    Backspace,
    Up,
    Down,
    Right,
    Left,
    Home,
    End,
    Insert,
    Delete,
    PageUp,
    PageDown,
    F1,
    F2,
    F3,
    F4,
    F5,
    F6,
    F7,
    F8,
    F9,
    F10,
    F11,
    F12,
    /// A key of the number block: one of `0123456789./*-+=,`.
    Keypad(char),
    KeypadEnter,
}

/// Characters of the number block, each at the place of its final byte after `SS3` in application mode (VT220 style).
const KEYPAD: [(char, u8); 17] = [
    ('0', b'p'),
    ('1', b'q'),
    ('2', b'r'),
    ('3', b's'),
    ('4', b't'),
    ('5', b'u'),
    ('6', b'v'),
    ('7', b'w'),
    ('8', b'x'),
    ('9', b'y'),
    ('*', b'j'),
    ('+', b'k'),
    (',', b'l'),
    ('-', b'm'),
    ('.', b'n'),
    ('/', b'o'),
    ('=', b'X'),
];

/// A key with its modifiers, of which a terminal knows what to send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "(KeyCode, u8)", into = "(KeyCode, u8)")]
pub struct Key {
    code: KeyCode,
    modifiers: u8,
}

/// What the program has asked of the keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyModes {
    /// DECCKM, `CSI ? 1 h`: cursor keys send `SS3` in place of `CSI`.
    pub application_cursor: bool,
    /// DECKPAM, `ESC =`: the number block sends sequences in place of characters.
    pub application_keypad: bool,
}

/// A text that names no key, or a key that no terminal can send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such name; nothing near it either.
    #[error(
        "'{0}' is not a key: write a character or a name such as Enter, Up, F5 or PageUp, with C-, M- or S- before it"
    )]
    Unknown(String),
    /// No such name, but one that looks like it.
    #[error("'{0}' is not a key: did you mean {1}?")]
    Near(String, String),
    /// A terminal sends nothing of its own for it.
    #[error(
        "a terminal has no bytes of its own for '{0}': leave a modifier out, or send the bytes the program expects"
    )]
    NoBytes(String),
}

impl Key {
    /// The key with its modifiers (1 shift, 2 meta, 4 control), if a terminal can send it. Control forgets the case of a letter,
    /// shift becomes part of one.
    ///
    /// # Errors
    /// [`KeyError::NoBytes`] when a terminal cannot tell the combination from another.
    pub fn new(code: KeyCode, modifiers: u8) -> Result<Key, KeyError> {
        let (code, modifiers) = normalized(code, modifiers);
        let key = Key { code, modifiers };
        let possible = match Sent::of(code) {
            Sent::Char(c) if modifiers & SHIFT != 0 || c.is_control() => false,
            Sent::Char(c) => modifiers & CONTROL == 0 || control_byte(c).is_some(),
            Sent::Byte { shifted, controlled, .. } => match modifiers {
                SHIFT => shifted.is_some(),
                CONTROL | ALL_BUT_SHIFT => controlled.is_some(),
                _ => modifiers & (SHIFT | CONTROL) == 0,
            },
            Sent::Letter { .. } | Sent::Number(_) => true,
            Sent::Keypad { .. } => modifiers == 0,
            Sent::Nothing => false,
        };
        if possible && modifiers <= SHIFT | META | CONTROL {
            Ok(key)
        } else {
            Err(KeyError::NoBytes(clipped(&key.to_string())))
        }
    }

    /// Appends what a terminal in these modes sends for the key.
    pub fn encode(self, modes: KeyModes, out: &mut Vec<u8>) {
        match Sent::of(self.code) {
            Sent::Char(c) => self.encode_char(c, out),
            Sent::Byte { plain, shifted, controlled } => {
                self.meta(out);
                match (shifted, controlled) {
                    (Some(sequence), _) if self.modifiers & SHIFT != 0 => out.extend_from_slice(sequence),
                    (_, Some(byte)) if self.modifiers & CONTROL != 0 => out.push(byte),
                    _ => out.push(plain),
                }
            }
            Sent::Letter { letter, cursor } if self.modifiers == 0 => {
                let ss3 = !cursor || modes.application_cursor;
                out.extend_from_slice(&[ESC, if ss3 { b'O' } else { b'[' }, letter]);
            }
            Sent::Letter { letter, cursor: _ } => {
                out.extend_from_slice(&[ESC, b'[', b'1', b';', b'1' + self.modifiers, letter]);
            }
            Sent::Number(number) if self.modifiers == 0 => out.extend_from_slice(format!("\x1b[{number}~").as_bytes()),
            Sent::Number(number) => {
                out.extend_from_slice(format!("\x1b[{number};{}~", 1 + self.modifiers).as_bytes());
            }
            Sent::Keypad { plain, application } => match modes.application_keypad {
                true => out.extend_from_slice(&[ESC, b'O', application]),
                false => out.push(plain),
            },
            Sent::Nothing => {}
        }
    }

    fn encode_char(self, c: char, out: &mut Vec<u8>) {
        self.meta(out);
        match control_byte(c).filter(|_| self.modifiers & CONTROL != 0) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    fn meta(self, out: &mut Vec<u8>) {
        if self.modifiers & META != 0 {
            out.push(ESC);
        }
    }

    /// The one byte a terminal sends for it, for keys that are one.
    pub fn byte(self) -> Option<u8> {
        let mut bytes = Vec::new();
        self.encode(KeyModes::default(), &mut bytes);
        if let [byte] = bytes[..] { Some(byte) } else { None }
    }

    /// Code point and modifiers by which the newer keyboard protocols name a key that is one byte.
    pub fn code_point(self) -> Option<(u32, u8)> {
        match Sent::of(self.code) {
            Sent::Char(c) if c.is_ascii_uppercase() => {
                Some((u32::from(c.to_ascii_lowercase()), self.modifiers | SHIFT))
            }
            Sent::Char(c) => Some((u32::from(c), self.modifiers)),
            Sent::Byte { plain, .. } => Some((u32::from(plain), self.modifiers)),
            Sent::Letter { .. } | Sent::Number(_) | Sent::Keypad { .. } | Sent::Nothing => None,
        }
    }
}

impl TryFrom<(KeyCode, u8)> for Key {
    type Error = KeyError;

    fn try_from((code, modifiers): (KeyCode, u8)) -> Result<Key, KeyError> {
        Key::new(code, modifiers)
    }
}

impl From<Key> for (KeyCode, u8) {
    fn from(key: Key) -> (KeyCode, u8) {
        (key.code, key.modifiers)
    }
}

/// How a key is sent.
#[derive(Clone, Copy)]
enum Sent {
    /// The character itself, in UTF-8.
    Char(char),
    /// One control byte, and what shift and control make of it.
    Byte { plain: u8, shifted: Option<&'static [u8]>, controlled: Option<u8> },
    /// `CSI` or `SS3` and a letter; `cursor`: it depends on DECCKM, the others are always `SS3`.
    Letter { letter: u8, cursor: bool },
    /// `CSI number ~`.
    Number(u8),
    /// A key of the number block.
    Keypad { plain: u8, application: u8 },
    /// Not a key there is.
    Nothing,
}

impl Sent {
    fn of(code: KeyCode) -> Sent {
        let byte = |plain| Sent::Byte { plain, shifted: None, controlled: None };
        let cursor = |letter| Sent::Letter { letter, cursor: true };
        let function = |letter| Sent::Letter { letter, cursor: false };
        match code {
            KeyCode::Char(c) => Sent::Char(c),
            KeyCode::Enter => byte(b'\r'),
            KeyCode::Escape => byte(ESC),
            KeyCode::Tab => Sent::Byte { plain: b'\t', shifted: Some(b"\x1b[Z"), controlled: None },
            KeyCode::Backspace => Sent::Byte { plain: 0x7f, shifted: None, controlled: Some(0x08) },
            KeyCode::Up => cursor(b'A'),
            KeyCode::Down => cursor(b'B'),
            KeyCode::Right => cursor(b'C'),
            KeyCode::Left => cursor(b'D'),
            KeyCode::Home => cursor(b'H'),
            KeyCode::End => cursor(b'F'),
            KeyCode::Insert => Sent::Number(2),
            KeyCode::Delete => Sent::Number(3),
            KeyCode::PageUp => Sent::Number(5),
            KeyCode::PageDown => Sent::Number(6),
            KeyCode::F1 => function(b'P'),
            KeyCode::F2 => function(b'Q'),
            KeyCode::F3 => function(b'R'),
            KeyCode::F4 => function(b'S'),
            KeyCode::F5 => Sent::Number(15),
            KeyCode::F6 => Sent::Number(17),
            KeyCode::F7 => Sent::Number(18),
            KeyCode::F8 => Sent::Number(19),
            KeyCode::F9 => Sent::Number(20),
            KeyCode::F10 => Sent::Number(21),
            KeyCode::F11 => Sent::Number(23),
            KeyCode::F12 => Sent::Number(24),
            KeyCode::Keypad(c) => match KEYPAD.iter().find(|(known, _)| *known == c) {
                Some((_, application)) => Sent::Keypad { plain: c as u8, application: *application },
                None => Sent::Nothing,
            },
            KeyCode::KeypadEnter => Sent::Keypad { plain: b'\r', application: b'M' },
        }
    }
}

/// The control byte of a character, as xterm has them: `@` to `_` less 0x40, `?` is DEL, and the digits VT220 keyboards had.
fn control_byte(c: char) -> Option<u8> {
    match u8::try_from(c).ok()? {
        byte @ (b'@'..=b'_' | b'a'..=b'z') => Some(byte & 0x1f),
        b' ' | b'2' => Some(0),
        byte @ b'3'..=b'7' => Some(byte - b'3' + ESC),
        b'/' => Some(0x1f),
        b'8' | b'?' => Some(0x7f),
        _ => None,
    }
}

/// Control forgets the case of a letter, shift becomes part of one.
fn normalized(code: KeyCode, modifiers: u8) -> (KeyCode, u8) {
    let KeyCode::Char(c) = code else { return (code, modifiers) };
    if !c.is_ascii_alphabetic() {
        (code, modifiers)
    } else if modifiers & CONTROL != 0 {
        (KeyCode::Char(c.to_ascii_lowercase()), modifiers)
    } else if modifiers & SHIFT != 0 {
        (KeyCode::Char(c.to_ascii_uppercase()), modifiers & !SHIFT)
    } else {
        (code, modifiers)
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
