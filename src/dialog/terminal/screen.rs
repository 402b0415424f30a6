//! The part of the screen below the cursor, where a menu is drawn, and the keys that are pressed.

use std::io::{self, ErrorKind};
use std::time::Duration;

use console::Term;

use super::settings::wait_for_key;
use super::tty::Tty;
use super::turn::Turn;

/// How often to look whether the window has another size. A library installs no handler for SIGWINCH: the program may have its own.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What a key means in a menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Enter,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Escape,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    /// Ctrl-O.
    Others,
    Char(char),
    EraseChar,
    /// Ctrl-W.
    EraseWord,
    /// Ctrl-U.
    EraseAll,
}

/// Rows and columns.
pub(super) type Size = (usize, usize);

/// Where a menu is drawn. When it is dropped, the menu is gone.
pub(super) struct Screen {
    term: Term,
    size: Size,
    /// The widths of the lines on the screen.
    drawn: Vec<usize>,
}

impl Screen {
    /// In raw mode until the turn ends.
    pub(super) fn open(turn: &Turn) -> Option<Self> {
        let term = Tty::open()?.term();
        turn.set_raw();
        let _ = term.hide_cursor();
        Some(Self { size: size(&term), term, drawn: Vec::new() })
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Draws these lines, with their widths, in place of those that are there. All at once, so that nothing flickers.
    pub(super) fn draw(&mut self, lines: &[(String, usize)]) -> io::Result<()> {
        let mut text = self.up();
        for (line, _) in lines {
            text.push_str(line);
            text.push_str("\x1b[K\r\n");
        }
        // Another process may have written below that it waits
        text.push_str("\x1b[J");
        self.drawn = lines.iter().map(|(_, width)| *width).collect();
        self.term.write_str(&text)?;
        self.term.flush()
    }

    /// The next key; `None` when there is none within this time, or when the window has another size.
    pub(super) fn key(&mut self, within: Duration) -> io::Result<Option<Key>> {
        if !wait_for_key(within)? {
            return Ok(None);
        }
        Ok(match self.term.read_key_raw() {
            // By a signal; Ctrl-C is a key
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            key => meaning(key?),
        })
    }

    /// Whether the window has another size than when this was called last.
    pub(super) fn is_resized(&mut self) -> bool {
        let size = size(&self.term);
        std::mem::replace(&mut self.size, size) != size
    }

    /// Moves the cursor to the first line that was drawn. In a window that became narrower, most terminals have wrapped the lines.
    fn up(&self) -> String {
        let (rows, columns) = self.size;
        let lines: usize = self.drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        match lines.min(rows) {
            0 => "\r".to_owned(),
            lines => format!("\r\x1b[{lines}A"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.term.write_str(&(self.up() + "\x1b[J"));
        let _ = self.term.show_cursor();
    }
}

fn size(term: &Term) -> Size {
    match term.size_checked() {
        Some((rows, columns)) if rows > 0 && columns > 0 => (rows.into(), columns.into()),
        _ => (24, 80),
    }
}

fn meaning(key: console::Key) -> Option<Key> {
    use console::Key as K;
    Some(match key {
        K::Enter => Key::Enter,
        K::ArrowUp | K::BackTab => Key::Up,
        K::ArrowDown | K::Tab => Key::Down,
        K::PageUp => Key::PageUp,
        K::PageDown => Key::PageDown,
        K::Home => Key::Home,
        K::End => Key::End,
        K::Escape => Key::Escape,
        K::CtrlC => Key::Interrupt,
        K::Char('\u{4}') => Key::EndOfInput,
        K::Char('\u{f}') => Key::Others,
        K::Char('\u{15}') => Key::EraseAll,
        K::Char('\u{17}') => Key::EraseWord,
        K::Backspace => Key::EraseChar,
        K::Char(c) if !c.is_control() => Key::Char(c),
        _ => return None,
    })
}
