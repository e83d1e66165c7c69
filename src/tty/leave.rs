//! What a program, or a picture of its screen, may have left behind in a terminal, undone: sequences of xterm's ctlseqs and of kitty's
//! keyboard protocol, each without effect where there is nothing to undo.
//!
//! ```text
//! LEAVE            input   main screen   margins   output   a new last line
//! LEAVE_IN_PLACE   input                 margins   output
//! LEAVE_ALTERNATE  input   margins   main screen   output
//! ```
//! Not undone: colours, which a program defines over those of its user and no sequence tells apart; the coding, which no program gets to
//! change (`core/queries` drops ISO 2022's switches).

/// Has the terminal remember its title (XTWINOPS), and whether the wheel is arrow keys in an alternate screen (XTSAVE of mode 1007, off in
/// some terminals and on in others until a program says).
pub(super) const ENTER: &[u8] = b"\x1b[22;0t\x1b[?1007s";

/// What is held back, and what keys, mouse and pastes are to the program.
macro_rules! input {
    () => {
        concat!(
            "\x1b[?2026l", // shows what was held back
            "\x1b[<9u",    // kitty's keys, of this screen
            "\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l", // mouse
            "\x1b[?1007r", // the wheel
            "\x1b[?1004l\x1b[?2031l\x1b[?2048l", // reports of focus, colours, size
            "\x1b[?2004l", // bracketed paste
            "\x1b[?1l\x1b>\x1b[>4m", // cursor keys, keypad, other keys
            "\x1b[2l\x1b[12h", // a keyboard that is not locked and does not echo
        )
    };
}

/// The main screen, and its keys.
macro_rules! main_screen {
    () => {
        "\x1b[?1049l\x1b[<9u"
    };
}

/// The whole screen without margins; the cursor goes home.
macro_rules! margins {
    () => {
        "\x1b[r\x1b[?6l\x1b[?69l"
    };
}

/// How text is written and looks; the cursor stays where it is.
macro_rules! output {
    () => {
        concat!(
            "\x1b[?7h\x1b[4l\x1b[20l\x1b[?5l", // wrap, insert, new line, reverse
            "\x1b(B\x1b)B\x1b*B\x1b+B\x0f",    // ASCII
            "\x1b[0m\x1b]8;;\x1b\\",           // no attributes, no link
            "\x1b[?5W",                        // tab stops at each eighth column
            "\x1b[?12l\x1b[?25h\x1b[0 q",      // the cursor, which the last of them may set blinking again
            "\x1b[23;0t",                      // the title
        )
    };
}

/// Brings a terminal back to what a shell expects, whatever ran in it. Ends on a new last line.
pub const LEAVE: &[u8] = concat!(input!(), main_screen!(), margins!(), output!(), "\x1b[9999;1H\r\n").as_bytes();

/// The same for a terminal that shows its main screen, with the cursor left where it is: what stands there stays. Origin mode, which
/// hardly any program leaves on, stays too: to reset it moves the cursor, and restoring the cursor would set it again.
pub const LEAVE_IN_PLACE: &[u8] = concat!(input!(), "\x1b7\x1b[r\x1b8\x1b[?69l", output!()).as_bytes();

/// The same for a terminal that shows its alternate screen: the main one comes back, with the cursor where it was.
pub const LEAVE_ALTERNATE: &[u8] = concat!(input!(), margins!(), main_screen!(), output!()).as_bytes();

/// Ends whatever sequence was being written when output was cut off: CAN, and ST for terminals that want it behind a string.
pub(super) const ABORT: &[u8] = b"\x18\x1b\\";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zerovisor_pty::screen::{Screen, leave};

    use super::*;

    /// The sequences in it, each from its ESC or shift to the next.
    fn sequences(bytes: &[u8]) -> BTreeSet<String> {
        let text = std::str::from_utf8(bytes).unwrap().replace("\x1b\\", "<ST>").replace('\x0f', "\x1bSI");
        text.split('\x1b').skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn each_way_out_undoes_all_that_a_picture_undoes_before_it_is_drawn() {
        // Places of the cursor, counts of kitty's keys that are popped: no modes.
        let other = |sequence: &str| sequence.ends_with('H') || sequence.ends_with('u');
        for (way, but) in [(LEAVE, &[][..]), (LEAVE_ALTERNATE, &[]), (LEAVE_IN_PLACE, &["[?6l", "[?1049l"])] {
            let undone = sequences(way);
            let missing: Vec<_> = sequences(leave())
                .into_iter()
                .filter(|one| !undone.contains(one) && !other(one) && !but.contains(&one.as_str()))
                .collect();
            assert!(missing.is_empty(), "{missing:?} in {}", way.escape_ascii());
        }
        let [whole, alternate, place] = [LEAVE, LEAVE_ALTERNATE, LEAVE_IN_PLACE].map(sequences);
        assert!(alternate.is_subset(&whole), "{:?}", alternate.difference(&whole));
        let own = BTreeSet::from(["7", "8"].map(str::to_owned));
        assert_eq!(place.difference(&whole).cloned().collect::<BTreeSet<_>>(), own);
    }

    /// Everything on that the model of a screen knows, but origin mode, which one of the ways leaves.
    const WILD: &str = "\x1b[1;31;44m\x1b]8;;http://x\x1b\\\x1b(0\x1b)0\x1b*0\x1b+0\x0e\x1b[4h\x1b[20h\x1b[?7l\x1b[?5h\x1b[3;9r\x1b[3g\
        \x1b[?1h\x1b=\x1b[>4;2m\x1b[>1u\x1b[?9h\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1004h\x1b[?1005h\x1b[?1006h\x1b[?1015h\
        \x1b[?1016h\x1b[?2004h\x1b[?25l\x1b[5 q\x1b[?12h\x1b]2;title\x07\x1b[?2026h";
    /// Written behind it, this shows how text is taken.
    const AFTER: &str = "\x1b[2J\x1b[H\x1b7a\tb\x1bnc\x1bod\x0fe\nf";

    #[test]
    fn behind_each_way_out_a_wild_program_has_left_nothing() {
        for (way, screen) in
            [(LEAVE, ""), (LEAVE, "\x1b[?1049h"), (LEAVE_ALTERNATE, "\x1b[?1049h"), (LEAVE_IN_PLACE, "")]
        {
            let [mut tame, mut wild] = ["", &format!("{screen}{WILD}")].map(|program| {
                let mut model = Screen::new(40, 10);
                for bytes in [ENTER, program.as_bytes(), way, AFTER.as_bytes()] {
                    model.feed(bytes, &mut Vec::new());
                }
                model
            });
            assert_eq!(wild.picture().escape_ascii().to_string(), tame.picture().escape_ascii().to_string());
        }
    }
}
