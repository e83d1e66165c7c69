//! The flags of the kitty keyboard protocol: <https://sw.kovidgoyal.net/kitty/keyboard-protocol>.
//!
//! Kept here and not by the terminal library, whose own stack is bounded at 4096 entries and fails when that is reached.

use alacritty_terminal::vte::ansi::{KeyboardModes, KeyboardModesApplyBehavior};

/// The most entries one screen's stack holds; pushing further forgets the oldest, as the protocol asks.
const STACK_MAX: usize = 16;

/// One screen's stack.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Stack {
    current: KeyboardModes,
    below: Vec<KeyboardModes>,
}

/// The stacks of the screen that shows and of the other one.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    active: Stack,
    other: Stack,
}

impl Keyboard {
    /// The flags in force, as the number that the protocol reports.
    pub(super) fn flags(&self) -> u8 {
        self.active.current.bits()
    }

    /// Each screen has a stack of its own.
    pub(super) fn swap(&mut self) {
        std::mem::swap(&mut self.active, &mut self.other);
    }

    pub(super) fn set(&mut self, modes: KeyboardModes, how: KeyboardModesApplyBehavior) {
        let current = &mut self.active.current;
        *current = match how {
            KeyboardModesApplyBehavior::Replace => modes,
            KeyboardModesApplyBehavior::Union => *current | modes,
            KeyboardModesApplyBehavior::Difference => *current - modes,
        };
    }

    pub(super) fn push(&mut self, modes: KeyboardModes) {
        let stack = &mut self.active;
        if stack.below.len() == STACK_MAX {
            stack.below.remove(0);
        }
        stack.below.push(stack.current);
        stack.current = modes;
    }

    pub(super) fn pop(&mut self, count: u16) {
        for _ in 0..usize::from(count).min(STACK_MAX + 1) {
            self.active.current = self.active.below.pop().unwrap_or_default();
        }
    }

    /// Appends what gives a terminal whose stack is empty the stack of the screen that shows.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut levels = self.active.below.iter().chain([&self.active.current]);
        if let Some(base) = levels.next().filter(|base| !base.is_empty()) {
            out.extend_from_slice(format!("\x1b[={}u", base.bits()).as_bytes());
        }
        for level in levels {
            out.extend_from_slice(format!("\x1b[>{}u", level.bits()).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushing_for_ever_forgets_the_oldest() {
        let mut keyboard = Keyboard::default();
        for _ in 0..10_000 {
            keyboard.push(KeyboardModes::REPORT_EVENT_TYPES);
        }
        assert_eq!(keyboard.active.below.len(), STACK_MAX);
        keyboard.pop(u16::MAX);
        assert_eq!(keyboard.flags(), 0);
    }

    #[test]
    fn each_screen_has_its_own() {
        let mut keyboard = Keyboard::default();
        keyboard.push(KeyboardModes::DISAMBIGUATE_ESC_CODES);
        keyboard.swap();
        assert_eq!(keyboard.flags(), 0);
        keyboard.swap();
        let mut out = Vec::new();
        keyboard.write(&mut out);
        assert_eq!(out, b"\x1b[>1u");
    }
}
