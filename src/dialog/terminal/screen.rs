//! The part of the screen below the cursor, where a menu is drawn, and the keys that are pressed.

use std::io;
use std::time::Duration;

use console::Term;

use super::keys::{Key, Keys};
use super::settings::{discard_typed, read_typed, wait_for_key};
use super::tty::Tty;
use super::turn::Turn;

/// How often to look whether the window has another size. A library installs no handler for SIGWINCH: the program may have its own.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long the rest of a key may take to come. A person presses no two keys so fast.
const REST: Duration = Duration::from_millis(30);

/// Rows and columns.
pub(super) type Size = (usize, usize);

/// Where a menu is drawn. When it is dropped, the menu is gone.
pub(super) struct Screen {
    term: Term,
    size: Size,
    /// The widths of the lines on the screen; `None` before the first time.
    drawn: Option<Vec<usize>>,
    keys: Keys,
}

impl Screen {
    /// In raw mode until the turn ends.
    pub(super) fn open(turn: &Turn) -> Option<Self> {
        let term = Tty::open()?.term();
        turn.set_raw();
        let _ = term.hide_cursor();
        Some(Self { size: size(&term), term, drawn: None, keys: Keys::default() })
    }

    /// The size that the window has now: of the lines that are drawn next, and of the window in which those stand that are there.
    pub(super) fn measure(&mut self) -> Size {
        self.size = size(&self.term);
        self.size
    }

    /// Draws these lines, with their widths, in place of those that are there. All at once, so that nothing flickers. The first time,
    /// discards the keys that were typed before there was anything to see.
    pub(super) fn draw(&mut self, lines: &[(String, usize)]) -> io::Result<()> {
        let mut text = self.up();
        for (line, _) in lines {
            text.push_str(line);
            text.push_str("\x1b[K\r\n");
        }
        // Another process may have written below that it waits
        text.push_str("\x1b[J");
        if self.drawn.replace(lines.iter().map(|(_, width)| *width).collect()).is_none() {
            discard_typed();
        }
        self.term.write_str(&text)?;
        self.term.flush()
    }

    /// The next key; `None` when there is none within this time.
    pub(super) fn key(&mut self, within: Duration) -> io::Result<Option<Key>> {
        loop {
            if let Some(key) = self.keys.next() {
                return Ok(Some(key));
            }
            if !wait_for_key(if self.keys.has_part() { REST } else { within })? {
                return Ok(self.keys.end());
            }
            self.keys.add(&read_typed()?);
        }
    }

    /// Whether the window has another size than the one that was [measured](Self::measure).
    pub(super) fn is_resized(&self) -> bool {
        size(&self.term) != self.size
    }

    /// Moves the cursor to the first line that was drawn. In a window that became narrower, most terminals have wrapped the lines.
    fn up(&self) -> String {
        let (rows, columns) = self.size;
        let lines: usize = self.drawn.iter().flatten().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        match lines.min(rows) {
            0 => "\r".to_owned(),
            lines => format!("\r\x1b[{lines}A"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.measure();
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
