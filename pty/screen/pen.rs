//! Colours, attributes and links as escape bytes, written only where they change.

use std::io::Write as _;

use alacritty_terminal::term::cell::{Cell, Flags, Hyperlink};
use alacritty_terminal::vte::ansi::{Color, NamedColor};

/// The attributes that SGR sets; the cell's other flags say how it lies in its row.
const ATTRIBUTES: Flags = Flags::INVERSE
    .union(Flags::BOLD)
    .union(Flags::ITALIC)
    .union(Flags::DIM)
    .union(Flags::HIDDEN)
    .union(Flags::STRIKEOUT)
    .union(Flags::ALL_UNDERLINES);

/// Links that the library numbered itself, since the program gave no id, end so.
const OWN_ID: &str = "_alacritty";

/// How text is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Style {
    fg: Color,
    bg: Color,
    underline: Option<Color>,
    attributes: Flags,
}

const PLAIN: Style = Style {
    fg: Color::Named(NamedColor::Foreground),
    bg: Color::Named(NamedColor::Background),
    underline: None,
    attributes: Flags::empty(),
};

/// What a terminal draws with at this point of the bytes written to it.
pub(super) struct Pen {
    style: Style,
    link: Option<Hyperlink>,
}

impl Pen {
    /// A pen for a terminal that draws plain.
    pub(super) const fn plain() -> Pen {
        Pen { style: PLAIN, link: None }
    }

    /// Appends what changes the terminal to draw as `cell` is drawn.
    pub(super) fn take(&mut self, cell: &Cell, out: &mut Vec<u8>) {
        let style =
            Style { fg: cell.fg, bg: cell.bg, underline: cell.underline_color(), attributes: cell.flags & ATTRIBUTES };
        if style != self.style {
            style.write(out);
            self.style = style;
        }
        let link = cell.hyperlink();
        if link != self.link {
            write_link(link.as_ref(), out);
            self.link = link;
        }
    }

    /// Appends what makes the terminal draw plain.
    pub(super) fn put_down(&mut self, out: &mut Vec<u8>) {
        self.take(&Cell::default(), out);
    }
}

/// Whether the cell looks like one that nothing was ever drawn in.
pub(super) fn is_blank(cell: &Cell) -> bool {
    matches!(cell.c, ' ' | '\t')
        && cell.bg == PLAIN.bg
        && !cell.flags.intersects(Flags::INVERSE | Flags::STRIKEOUT | Flags::ALL_UNDERLINES)
        && cell.extra.is_none()
}

impl Style {
    fn write(&self, out: &mut Vec<u8>) {
        let has = |flag| self.attributes.contains(flag);
        out.extend_from_slice(b"\x1b[0");
        for (flag, code) in [
            (Flags::BOLD, ";1"),
            (Flags::DIM, ";2"),
            (Flags::ITALIC, ";3"),
            (Flags::ALL_UNDERLINES, ";4"),
            (Flags::INVERSE, ";7"),
            (Flags::HIDDEN, ";8"),
            (Flags::STRIKEOUT, ";9"),
        ] {
            if self.attributes.intersects(flag) {
                out.extend_from_slice(code.as_bytes());
            }
        }
        write_colour(self.fg, 30, out);
        write_colour(self.bg, 40, out);
        out.push(b'm');
        // In sequences of their own: a terminal that does not know colons passes over the whole sequence.
        for (flag, code) in [
            (Flags::DOUBLE_UNDERLINE, "\x1b[4:2m"),
            (Flags::UNDERCURL, "\x1b[4:3m"),
            (Flags::DOTTED_UNDERLINE, "\x1b[4:4m"),
            (Flags::DASHED_UNDERLINE, "\x1b[4:5m"),
        ] {
            if has(flag) {
                out.extend_from_slice(code.as_bytes());
            }
        }
        let _ = match self.underline {
            Some(Color::Spec(rgb)) => write!(out, "\x1b[58:2::{}:{}:{}m", rgb.r, rgb.g, rgb.b),
            Some(Color::Indexed(index)) => write!(out, "\x1b[58:5:{index}m"),
            Some(Color::Named(_)) | None => Ok(()),
        };
    }
}

/// `base` is 30 for the colour of the text, 40 for the one behind it.
fn write_colour(colour: Color, base: usize, out: &mut Vec<u8>) {
    let _ = match colour {
        Color::Spec(rgb) => write!(out, ";{};2;{};{};{}", base + 8, rgb.r, rgb.g, rgb.b),
        Color::Indexed(index) => write!(out, ";{};5;{index}", base + 8),
        Color::Named(name) => match name as usize {
            dark @ 0..8 => write!(out, ";{}", base + dark),
            bright @ 8..16 => write!(out, ";{}", base + 52 + bright),
            // The default colours, which the reset before has set.
            _ => Ok(()),
        },
    };
}

/// OSC 8; see <https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda>.
fn write_link(link: Option<&Hyperlink>, out: &mut Vec<u8>) {
    let _ = match link {
        None => write!(out, "\x1b]8;;\x1b\\"),
        Some(link) if link.id().ends_with(OWN_ID) => write!(out, "\x1b]8;;{}\x1b\\", link.uri()),
        Some(link) => write!(out, "\x1b]8;id={};{}\x1b\\", link.id(), link.uri()),
    };
}
