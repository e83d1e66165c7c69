//! Keys as people write them.

use std::fmt;
use std::str::FromStr;

use super::{CONTROL, Key, KeyCode, KeyError, META, SHIFT, clipped};

/// Names that are shown and read; the first of a key is its own, the others are read only. Case does not matter.
pub(super) const NAMES: &[(&str, KeyCode)] = &[
    ("Enter", KeyCode::Enter),
    ("Return", KeyCode::Enter),
    ("CR", KeyCode::Enter),
    ("Escape", KeyCode::Escape),
    ("Esc", KeyCode::Escape),
    ("Tab", KeyCode::Tab),
    ("Space", KeyCode::Char(' ')),
    ("BSpace", KeyCode::Backspace),
    ("Backspace", KeyCode::Backspace),
    ("BS", KeyCode::Backspace),
    ("Up", KeyCode::Up),
    ("Down", KeyCode::Down),
    ("Right", KeyCode::Right),
    ("Left", KeyCode::Left),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
    ("Insert", KeyCode::Insert),
    ("IC", KeyCode::Insert),
    ("Ins", KeyCode::Insert),
    ("Delete", KeyCode::Delete),
    ("DC", KeyCode::Delete),
    ("Del", KeyCode::Delete),
    ("PageUp", KeyCode::PageUp),
    ("PPage", KeyCode::PageUp),
    ("PgUp", KeyCode::PageUp),
    ("PageDown", KeyCode::PageDown),
    ("NPage", KeyCode::PageDown),
    ("PgDn", KeyCode::PageDown),
    ("PgDown", KeyCode::PageDown),
    ("F1", KeyCode::F1),
    ("F2", KeyCode::F2),
    ("F3", KeyCode::F3),
    ("F4", KeyCode::F4),
    ("F5", KeyCode::F5),
    ("F6", KeyCode::F6),
    ("F7", KeyCode::F7),
    ("F8", KeyCode::F8),
    ("F9", KeyCode::F9),
    ("F10", KeyCode::F10),
    ("F11", KeyCode::F11),
    ("F12", KeyCode::F12),
    ("KPEnter", KeyCode::KeypadEnter),
];

/// Spellings of the modifiers, to be followed by `-` or `+`. Case does not matter.
const MODIFIERS: [(&str, u8); 8] = [
    ("C", CONTROL),
    ("Ctrl", CONTROL),
    ("Control", CONTROL),
    ("M", META),
    ("Meta", META),
    ("Alt", META),
    ("S", SHIFT),
    ("Shift", SHIFT),
];

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        let (mut rest, mut modifiers) = (text, 0);
        while let Some((modifier, after)) = split_modifier(rest) {
            modifiers |= modifier;
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('^').filter(|after| after.chars().count() == 1) {
            (rest, modifiers) = (after, modifiers | CONTROL);
        }
        let (code, implied) = named(rest).ok_or_else(|| unknown(text, rest))?;
        Key::new(code, modifiers | implied).map_err(|_| KeyError::NoBytes(clipped(text)))
    }
}

/// The modifier a text begins with and what follows it, which is never nothing: `-` alone is a key.
fn split_modifier(text: &str) -> Option<(u8, &str)> {
    let (name, rest) = text.split_at(text.find(['-', '+']).filter(|at| at + 1 < text.len())?);
    let (_, modifier) = MODIFIERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some((*modifier, &rest[1..]))
}

fn named(name: &str) -> Option<(KeyCode, u8)> {
    let mut chars = name.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some(c), None, None) => return (!c.is_control()).then_some((KeyCode::Char(c), 0)),
        (Some('K' | 'k'), Some('P' | 'p'), Some(c)) if name.len() == 3 => return Some((KeyCode::Keypad(c), 0)),
        _ if name.eq_ignore_ascii_case("BTab") => return Some((KeyCode::Tab, SHIFT)),
        _ => {}
    }
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| (*code, 0))
}

/// The error for a name nobody knows, with the nearest one that is known if it is at most two letters away.
fn unknown(text: &str, name: &str) -> KeyError {
    let candidates = NAMES.iter().map(|(known, _)| (distance(name, known), *known));
    match candidates.filter(|(far, known)| *far <= 2 && *far < known.len() - 1).min_by_key(|(far, _)| *far) {
        Some((_, near)) if text.len() < 40 => {
            KeyError::Near(text.to_owned(), format!("{}{near}", &text[..text.len() - name.len()]))
        }
        _ => KeyError::Unknown(clipped(text)),
    }
}

/// Letters to add, leave out or change to make one of the other (Levenshtein), whatever their case. Only short names are measured.
fn distance(one: &str, other: &str) -> usize {
    if one.len() > 16 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let change = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backtab = self.code == KeyCode::Tab && self.modifiers == SHIFT;
        for (name, modifier) in [("C-", CONTROL), ("M-", META), ("S-", SHIFT)] {
            if self.modifiers & modifier != 0 && !backtab {
                f.write_str(name)?;
            }
        }
        match (NAMES.iter().find(|(_, code)| *code == self.code), self.code) {
            _ if backtab => f.write_str("BTab"),
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, KeyCode::Keypad(c)) => write!(f, "KP{c}"),
            (None, code) => write!(f, "{code:?}"),
        }
    }
}
