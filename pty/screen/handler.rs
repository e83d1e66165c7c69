//! What each control function does: most go on to the library, some are done here or noted on the way.

use alacritty_terminal::term::TermMode;
use alacritty_terminal::vte::ansi::{
    Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, Hyperlink, KeyboardModes,
    KeyboardModesApplyBehavior, LineClearMode, Mode, ModifyOtherKeys, NamedPrivateMode, PrivateMode, Rgb,
    StandardCharset, TabulationClearMode,
};

use super::emulator::{Emulator, Passed, tab_stops};

/// The longest title that is kept, in characters.
const TITLE_MAX_CHARS: usize = 256;
/// The most titles on the stack of XTWINOPS 22; xterm's own limit.
const TITLES_MAX: usize = 10;
/// The longest link that is kept, in bytes, as it is in VTE; text under a longer one is no link.
const LINK_MAX_BYTES: usize = 2083;
/// The longest name of a link, in bytes, likewise.
const LINK_ID_MAX_BYTES: usize = 250;

/// Control functions that the library does, and what there is to do after each.
macro_rules! to_the_library {
    ($($name:ident($($argument:ident: $type:ty),*) $(then $after:ident)?;)*) => {
        $(
            #[inline]
            fn $name(&mut self, $($argument: $type),*) {
                Handler::$name(&mut self.term, $($argument),*);
                $(self.$after();)?
            }
        )*
    };
}

impl Handler for Emulator {
    to_the_library! {
        goto(line: i32, column: usize);
        goto_line(line: i32);
        move_forward(columns: usize);
        move_backward(columns: usize);
        put_tab(count: u16);
        backspace();
        carriage_return();
        newline();
        scroll_up(count: usize);
        scroll_down(count: usize);
        insert_blank_lines(count: usize);
        delete_lines(count: usize);
        reverse_index();
        terminal_attribute(attribute: Attr);
        set_mode(mode: Mode);
        unset_mode(mode: Mode);
        set_keypad_application_mode();
        unset_keypad_application_mode();
        configure_charset(index: CharsetIndex, charset: StandardCharset);
        set_color(index: usize, colour: Rgb);
        reset_color(index: usize);
        decaln();
        move_forward_tabs(count: u16) then settle_wrap;
        insert_blank(count: usize) then mend_row;
        delete_chars(count: usize) then mend_row;
        erase_chars(count: usize) then mend_row;
        clear_line(mode: LineClearMode) then mend_row;
        clear_screen(mode: ClearMode) then mend_row;
    }

    #[inline]
    fn input(&mut self, c: char) {
        if c.is_ascii() || !self.is_crowded_by(c) {
            Handler::input(&mut self.term, c);
            if self.has(TermMode::INSERT) {
                self.mend_row();
            }
        }
    }

    fn linefeed(&mut self) {
        self.term.linefeed();
        if self.has(TermMode::LINE_FEED_NEW_LINE) {
            self.term.carriage_return();
        }
    }

    // The library's own leave the row in origin mode.
    fn goto_col(&mut self, column: usize) {
        let (row, _) = self.position();
        self.put_cursor(row, column.min(self.size().cols - 1));
    }

    fn move_up(&mut self, count: usize) {
        self.up(count);
    }

    fn move_down(&mut self, count: usize) {
        self.down(count);
    }

    fn move_down_and_cr(&mut self, count: usize) {
        self.down(count);
        self.term.carriage_return();
    }

    fn move_up_and_cr(&mut self, count: usize) {
        self.up(count);
        self.term.carriage_return();
    }

    fn move_backward_tabs(&mut self, count: u16) {
        let (row, mut column) = self.position();
        for _ in 0..count {
            // Without a stop the first column ends it; the library's own stays where it is.
            column = self.tabs[..column].iter().rposition(|stop| *stop).unwrap_or(0);
            if column == 0 {
                break;
            }
        }
        self.put_cursor(row, column);
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let rows = self.size().rows;
        let end = bottom.unwrap_or(rows).min(rows);
        if top < end {
            self.region = top.saturating_sub(1)..end;
            self.term.set_scrolling_region(top, Some(end));
        }
    }

    fn save_cursor_position(&mut self) {
        self.save();
    }

    fn restore_cursor_position(&mut self) {
        self.restore();
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.charset = index;
        self.term.set_active_charset(index);
    }

    fn set_horizontal_tabstop(&mut self) {
        let (_, column) = self.position();
        self.tabs[column] = true;
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        match mode {
            TabulationClearMode::Current => {
                let (_, column) = self.position();
                self.tabs[column] = false;
            }
            TabulationClearMode::All => self.tabs.fill(false),
        }
        self.term.clear_tabs(mode);
    }

    fn set_tabs(&mut self, _interval: u16) {
        let before = self.term.grid().cursor.clone();
        let (row, _) = self.position();
        self.clear_tabs(TabulationClearMode::All);
        let stops = tab_stops(0..self.size().cols);
        for (column, _) in stops.iter().enumerate().filter(|(_, stop)| **stop) {
            self.put_cursor(row, column);
            self.set_horizontal_tabstop();
        }
        self.term.grid_mut().cursor = before;
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        self.private_mode(mode, true);
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        self.private_mode(mode, false);
    }

    fn reset_state(&mut self) {
        self.hard_reset();
    }

    fn set_title(&mut self, title: Option<String>) {
        let short = |title: String| title.chars().filter(|c| !c.is_control()).take(TITLE_MAX_CHARS).collect();
        self.title = title.map(short);
    }

    fn push_title(&mut self) {
        if self.titles.len() == TITLES_MAX {
            self.titles.remove(0);
        }
        self.titles.push(self.title.clone());
    }

    fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
        }
    }

    fn set_hyperlink(&mut self, link: Option<Hyperlink>) {
        let fits = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        let kept = link.filter(|link| {
            fits(&link.uri, LINK_MAX_BYTES) && link.id.as_ref().is_none_or(|id| fits(id, LINK_ID_MAX_BYTES))
        });
        self.term.set_hyperlink(kept);
    }

    fn set_cursor_style(&mut self, style: Option<CursorStyle>) {
        self.style = style;
    }

    fn set_cursor_shape(&mut self, shape: CursorShape) {
        self.style.get_or_insert_default().shape = shape;
    }

    fn push_keyboard_mode(&mut self, modes: KeyboardModes) {
        self.keyboard.push(modes);
    }

    fn pop_keyboard_modes(&mut self, count: u16) {
        self.keyboard.pop(count);
    }

    fn set_keyboard_mode(&mut self, modes: KeyboardModes, how: KeyboardModesApplyBehavior) {
        self.keyboard.set(modes, how);
    }

    fn set_modify_other_keys(&mut self, mode: ModifyOtherKeys) {
        self.other_keys = mode as u8;
    }

    fn report_keyboard_mode(&mut self) {
        let answer = format!("\x1b[?{}u", self.keyboard.flags());
        self.answers.push(&answer);
    }

    fn report_modify_other_keys(&mut self) {
        let answer = format!("\x1b[>4;{}m", self.other_keys);
        self.answers.push(&answer);
    }

    fn identify_terminal(&mut self, intermediate: Option<char>) {
        self.answer_attributes(intermediate);
    }

    fn device_status(&mut self, asked: usize) {
        self.answer_status(asked);
    }

    fn report_mode(&mut self, mode: Mode) {
        self.answer_mode(mode);
    }

    fn report_private_mode(&mut self, mode: PrivateMode) {
        self.answer_private_mode(mode);
    }

    fn dynamic_color_sequence(&mut self, prefix: String, index: usize, terminator: &str) {
        self.answer_colour(&prefix, index, terminator);
    }

    fn text_area_size_pixels(&mut self) {
        self.answer_pixels();
    }

    fn text_area_size_chars(&mut self) {
        self.answer_cells();
    }
}

impl Emulator {
    /// DECSET and DECRST.
    fn private_mode(&mut self, mode: PrivateMode, on: bool) {
        match mode {
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor) if on => self.switch(true),
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor) => self.leave_alternate(),
            PrivateMode::Named(NamedPrivateMode::Origin) => self.set_origin(on),
            PrivateMode::Named(NamedPrivateMode::BlinkingCursor) => self.style.get_or_insert_default().blinking = on,
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => self.column_mode(),
            PrivateMode::Unknown(47 | 1047) => self.switch_only(on),
            PrivateMode::Unknown(1048) if on => self.save(),
            PrivateMode::Unknown(1048) => self.restore(),
            PrivateMode::Named(_) | PrivateMode::Unknown(_) => match Passed::from_number(mode.raw()) {
                Some(known) => self.set_passed(known, on),
                None if on => self.term.set_private_mode(mode),
                None => self.term.unset_private_mode(mode),
            },
        }
    }

    /// DECCOLM changes no width here; its other effects are those of the library: the screen is cleared, the region is whole.
    fn column_mode(&mut self) {
        self.term.set_private_mode(NamedPrivateMode::ColumnMode.into());
        self.region = 0..self.size().rows;
    }
}
