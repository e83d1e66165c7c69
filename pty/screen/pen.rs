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

/// The most bytes of links that one picture, or one text of all rows, has in it; text beyond that is drawn without. A link may be a hundred
/// times as long as the text under it, and change with each cell.
const LINKS_MAX_BYTES: usize = 256 << 10;

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
    link: Option<Link>,
    /// How many more bytes of links may be written.
    links_room: usize,
}

/// A link is known by its address, and by the id where the program gave one.
struct Link(Hyperlink);

impl Link {
    fn id(&self) -> Option<&str> {
        Some(self.0.id()).filter(|id| !id.ends_with(OWN_ID))
    }

    /// Bytes that name it.
    fn len(&self) -> usize {
        self.0.uri().len() + self.id().map_or(0, str::len)
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Link) -> bool {
        self.0.uri() == other.0.uri() && self.id() == other.id()
    }
}

impl Pen {
    /// A pen for a terminal that draws plain.
    pub(super) const fn plain() -> Pen {
        Pen { style: PLAIN, link: None, links_room: LINKS_MAX_BYTES }
    }

    /// Appends what changes the terminal to draw as `cell` is drawn.
    pub(super) fn take(&mut self, cell: &Cell, out: &mut Vec<u8>) {
        let style =
            Style { fg: cell.fg, bg: cell.bg, underline: cell.underline_color(), attributes: cell.flags & ATTRIBUTES };
        if style != self.style {
            style.write(out);
            self.style = style;
        }
        let link = cell.hyperlink().map(Link);
        if link != self.link {
            self.take_link(link.filter(|link| link.len() <= self.links_room), out);
        }
    }

    fn take_link(&mut self, link: Option<Link>, out: &mut Vec<u8>) {
        if link != self.link {
            self.links_room -= link.as_ref().map_or(0, Link::len);
            write_link(link.as_ref(), out);
            self.link = link;
        }
    }

    /// Appends what makes the terminal draw plain.
    pub(super) fn put_down(&mut self, out: &mut Vec<u8>) {
        self.take(&Cell::default(), out);
    }
}

/// Whether a space drawn as `cell` is cannot be told from one that was never drawn.
pub(super) fn draws_plain(cell: &Cell) -> bool {
    Style::of(cell) == PLAIN && cell.hyperlink().is_none()
}

impl Style {
    fn of(cell: &Cell) -> Style {
        Style { fg: cell.fg, bg: cell.bg, underline: cell.underline_color(), attributes: cell.flags & ATTRIBUTES }
    }

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
fn write_link(link: Option<&Link>, out: &mut Vec<u8>) {
    let _ = match link {
        None => write!(out, "\x1b]8;;\x1b\\"),
        Some(link) => match link.id() {
            None => write!(out, "\x1b]8;;{}\x1b\\", link.0.uri()),
            Some(id) => write!(out, "\x1b]8;id={id};{}\x1b\\", link.0.uri()),
        },
    };
}
