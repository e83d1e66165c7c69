//! What a program may have left behind in a terminal, undone.

/// Has the terminal remember its title (XTWINOPS).
pub(super) const ENTER: &[u8] = b"\x1b[22;0t";

/// Brings a terminal back to what a shell expects, whatever ran in it: sequences of xterm's ctlseqs and of kitty's keyboard protocol, each
/// without effect where there is nothing to undo. Ends on a new last line.
pub const LEAVE: &[u8] = concat!(
    "\x1b[?2026l", // shows what was held back
    "\x1b[<9u",    // kitty's keys, of this screen
    "\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l", // mouse
    "\x1b[?1004l\x1b[?2031l\x1b[?2048l", // reports of focus, colours, size
    "\x1b[?2004l", // bracketed paste
    "\x1b[?1049l\x1b[<9u", // the main screen, and its keys
    "\x1b[?1l\x1b>\x1b[>4m", // cursor keys, keypad, other keys
    "\x1b[r\x1b[?6l\x1b[?69l\x1b[?7h\x1b[4l\x1b[?5l", // margins, wrap, insert, reverse
    "\x1b(B\x1b)B\x0f\x1b[0m", // ASCII, no attributes
    "\x1b[?25h\x1b[0 q", // the cursor
    "\x1b[23;0t",  // the title
    "\x1b[9999;1H\r\n",
)
.as_bytes();

/// The same for a terminal that shows its main screen, with the cursor left where it is: what stands there stays. Origin mode, which
/// hardly any program leaves on, stays too: to reset it moves the cursor, and restoring the cursor would set it again.
pub const LEAVE_IN_PLACE: &[u8] = concat!(
    "\x1b[?2026l", // shows what was held back
    "\x1b[<9u",    // kitty's keys
    "\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l", // mouse
    "\x1b[?1004l\x1b[?2031l\x1b[?2048l", // reports of focus, colours, size
    "\x1b[?2004l", // bracketed paste
    "\x1b[?1l\x1b>\x1b[>4m", // cursor keys, keypad, other keys
    "\x1b7\x1b[r\x1b8\x1b[?69l\x1b[?7h\x1b[4l\x1b[?5l", // margins, which move the cursor; wrap, insert, reverse
    "\x1b(B\x1b)B\x0f\x1b[0m", // ASCII, no attributes
    "\x1b[?25h\x1b[0 q", // the cursor
    "\x1b[23;0t",  // the title
)
.as_bytes();

/// The same for a terminal that shows its alternate screen: the main one comes back, with the cursor where it was.
pub const LEAVE_ALTERNATE: &[u8] = concat!(
    "\x1b[?2026l", // shows what was held back
    "\x1b[<9u",    // kitty's keys, of this screen
    "\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l", // mouse
    "\x1b[?1004l\x1b[?2031l\x1b[?2048l", // reports of focus, colours, size
    "\x1b[?2004l", // bracketed paste
    "\x1b[?1l\x1b>\x1b[>4m", // cursor keys, keypad, other keys
    "\x1b[r\x1b[?6l\x1b[?69l", // margins, which move the cursor
    "\x1b[?1049l\x1b[<9u", // the main screen, and its keys
    "\x1b[?7h\x1b[4l\x1b[?5l", // wrap, insert, reverse
    "\x1b(B\x1b)B\x0f\x1b[0m", // ASCII, no attributes
    "\x1b[?25h\x1b[0 q", // the cursor
    "\x1b[23;0t",  // the title
)
.as_bytes();

/// Ends whatever sequence was being written when output was cut off: CAN, and ST for terminals that want it behind a string.
pub(super) const ABORT: &[u8] = b"\x18\x1b\\";
