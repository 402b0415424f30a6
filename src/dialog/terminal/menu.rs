//! A list to pick from with the arrow keys. dialoguer's `Select` handles neither the end of input nor lines that are wider than
//! the screen, so this menu is our own, on the same crate `console`.

use std::io;

use super::keys::Key;
use super::line::{Line, Look};
use super::screen::{Screen, Size, TICK};
use super::turn::Turn;
use crate::select::chooser::Reply;

/// The lines above a list. The first one is always shown, the others as far as there is room.
pub(super) type Header = [Line];

/// How many lines of what is asked are shown before anything else.
pub(super) const ESSENTIAL: usize = 2;

/// How the lines of a menu share the window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    header: usize,
    list: usize,
    details: usize,
    gaps: bool,
    columns: usize,
    footer: usize,
}

/// What is to be shown, in lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Of the header, and how many of these are always shown.
    pub(super) header: (usize, usize),
    /// Of the list, with the rows that stay at its end, and how many of these there are.
    pub(super) list: (usize, usize),
    pub(super) details: usize,
    pub(super) footer: usize,
}

impl Room {
    /// Who asks, the marked row, and the first keys come first, then the row that stays. Then the rest of what is always shown where
    /// there is room for it, some rows and the first details come, then everything else.
    pub(super) fn new((rows, columns): Size, wanted: Wanted) -> Self {
        // The last row is that of the cursor
        let mut left = rows.saturating_sub(1);
        let mut take = |lines: usize| {
            let taken = lines.min(left);
            left -= taken;
            taken
        };
        let mut header = take(wanted.header.1.min(1));
        let mut list = take(wanted.list.0.min(1));
        let mut footer = take(wanted.footer.min(1));
        list += take(wanted.list.0.min(wanted.list.1 + 1) - list);
        footer += take(wanted.footer - footer);
        header += take(wanted.header.1 - header);
        let mut details = take(wanted.details.min(2));
        list += take(wanted.list.0.min(wanted.list.1 + 3) - list);
        header += take(wanted.header.0 - header);
        details += take(wanted.details - details);
        let gaps = take(3) == 3;
        list += take(wanted.list.0 - list);
        // So that long ones can be wrapped
        details += take(usize::MAX);
        Self { header, list, details, gaps, columns: columns_of(columns), footer }
    }

    /// How many rows of the list are shown at once, without those that stay.
    pub(super) fn page(&self, staying: usize) -> usize {
        self.list.saturating_sub(staying).max(1)
    }

    /// How many lines the header may take.
    pub(super) fn header(&self) -> usize {
        self.header
    }

    /// How many lines the details may take.
    pub(super) fn details(&self) -> usize {
        self.details
    }
}

/// In a narrower window no row can be told from another, so none can be picked.
const READABLE: usize = 10;

/// How many columns a line may take. The last one stays free, since a terminal may wrap there.
pub(super) fn columns_of(columns: usize) -> usize {
    columns.saturating_sub(1)
}

/// What a menu shows.
pub(super) struct View<'a> {
    pub(super) header: &'a Header,
    /// The rows in the window.
    pub(super) rows: Vec<Line>,
    /// Which of them is marked.
    pub(super) marked: Option<usize>,
    pub(super) details: Vec<Line>,
    pub(super) footer: Vec<Line>,
}

impl View<'_> {
    /// Draws it. Whether the marked row is in the window: if not, nobody knows what Enter would pick.
    pub(super) fn draw(self, room: &Room, screen: &mut Screen) -> io::Result<bool> {
        let Self { header, rows, marked, details, footer } = self;
        let mut lines: Vec<(Line, bool)> = Vec::new();
        let plain = |line: Line| (line, false);
        lines.extend(header.iter().take(room.header).cloned().map(plain));
        if room.gaps {
            lines.push((Line::default(), false));
        }
        // In a low window, the marked one and those before it
        let first = marked.map_or(0, |marked| (marked + 1).saturating_sub(room.list));
        let is_readable = marked.is_some() && room.list > 0 && room.columns >= READABLE;
        for (place, row) in rows.into_iter().enumerate().skip(first).take(room.list) {
            let is_marked = marked == Some(place);
            lines.push((Line::own(if is_marked { "> " } else { "  " }).and_line(row), is_marked));
        }
        if !details.is_empty() && room.details > 0 {
            if room.gaps {
                lines.push((Line::default(), false));
            }
            lines.extend(details.into_iter().take(room.details).map(plain));
        }
        if room.gaps {
            lines.push((Line::default(), false));
        }
        lines.extend(footer.into_iter().take(room.footer).map(plain));
        let drawn = lines.into_iter().map(|(line, is_reversed)| {
            let line = line.cut(room.columns);
            (line.shown(is_reversed), line.width())
        });
        screen.draw(&drawn.collect::<Vec<_>>())?;
        Ok(is_readable)
    }
}

/// The keys, as many in a line as fit.
pub(super) fn keys(hints: &[&str], columns: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for hint in hints {
        let hint = Line::default().and(hint, Look::Dim);
        match lines.last_mut() {
            Some(line) if line.width() + 3 + hint.width() <= columns => {
                *line = std::mem::take(line).and(" · ", Look::Dim).and_line(hint);
            }
            _ => lines.push(hint),
        }
    }
    lines
}

/// Where a key moves the mark among these places, a page being so long; `None` if it moves nothing.
pub(super) fn moved(key: Key, at: Option<usize>, places: usize, page: usize) -> Option<usize> {
    let last = places.checked_sub(1)?;
    Some(match key {
        Key::Down => at.map_or(0, |at| if at >= last { 0 } else { at + 1 }),
        Key::Up => at.filter(|&at| at > 0).map_or(last, |at| at - 1),
        Key::PageDown => at.map_or(0, |at| (at + page).min(last)),
        Key::PageUp => at.map_or(0, |at| at.saturating_sub(page)),
        Key::Home => 0,
        Key::End => last,
        _ => return None,
    })
}

/// Asks a question about something, in one line each, and lets the person pick one of a few rows. Enter alone picks nothing: the person
/// has to move to a row first. In a low window the question alone is shown.
pub(super) fn menu(turn: &Turn, about: &Line, question: impl Fn(usize) -> Line, rows: &[&str]) -> Result<usize, Reply> {
    let mut screen = Screen::open(turn).ok_or(Reply::Nobody)?;
    let mut at = None;
    loop {
        let size = screen.measure();
        let columns = columns_of(size.1);
        let question = question(columns).wrapped(columns, 0);
        let always = question.len().min(ESSENTIAL);
        let header: Vec<Line> = std::iter::once(about.clone().cut(columns)).chain(question).collect();
        let footer = keys(&["↑↓ move", "Enter pick", "Esc cancel"], columns);
        let wanted = Wanted { header: (header.len(), always), list: (rows.len(), 0), details: 0, footer: footer.len() };
        let room = Room::new(size, wanted);
        let page = room.page(0);
        let first = at.map_or(0, |at| at / page * page);
        let is_whole = room.header() == header.len();
        let view = View {
            header: header.get(usize::from(!is_whole)..).unwrap_or_default(),
            rows: rows.iter().skip(first).take(page).map(|row| Line::own(row)).collect(),
            marked: at.map(|at| at - first),
            details: Vec::new(),
            footer,
        };
        let is_readable = view.draw(&room, &mut screen).map_err(|_| Reply::Nobody)?;
        let key = loop {
            match screen.key(TICK).map_err(|_| Reply::Nobody)? {
                None if screen.is_resized() => break None,
                None => {}
                key => break key,
            }
        };
        match key {
            Some(Key::Enter) => {
                if let Some(at) = at.filter(|_| is_readable) {
                    return Ok(at);
                }
            }
            Some(Key::Escape | Key::Interrupt) => return Err(Reply::Abort),
            Some(Key::EndOfInput) => return Err(Reply::Nobody),
            Some(key) => at = moved(key, at, rows.len(), page).or(at),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_and_a_row_stay_in_every_window() {
        for rows in 6..60 {
            for (header, footer) in [(1, 1), (4, 2), (7, 3)] {
                let wanted = Wanted { header: (header, 1), list: (1000, 1), details: 8, footer };
                let room = Room::new((rows, 80), wanted);
                let gaps = if room.gaps { 3 } else { 0 };
                let all = room.header + room.list + room.details + room.footer + gaps;
                assert!(all < rows, "{rows} {wanted:?} {room:?}");
                assert!(room.footer == footer || rows < footer + 4, "{rows} {room:?}");
                assert!(room.header >= 1 && room.list >= 2 && room.footer >= 1, "{rows} {room:?}");
            }
        }
        // Who asks, the marked row, the first keys, the row that stays
        for (rows, expected) in
            [(0, (0, 0, 0)), (1, (0, 0, 0)), (2, (1, 0, 0)), (3, (1, 1, 0)), (4, (1, 1, 1)), (5, (1, 2, 1))]
        {
            let room = Room::new((rows, 20), Wanted { header: (4, 2), list: (1000, 1), details: 8, footer: 4 });
            assert_eq!((room.header, room.list, room.footer), expected, "{rows}");
        }
        let wanted = Wanted { header: (4, 1), list: (4, 1), details: 8, footer: 2 };
        assert_eq!(
            Room::new((24, 80), wanted),
            Room { header: 4, list: 4, details: 10, gaps: true, columns: 79, footer: 2 },
            "all of it at 80x24"
        );
    }

    #[test]
    fn the_mark_moves_round_and_stays_in_the_list() {
        let cases = [
            (Key::Down, None, Some(0)),
            (Key::Down, Some(9), Some(0)),
            (Key::Up, None, Some(9)),
            (Key::Up, Some(0), Some(9)),
            (Key::PageDown, Some(7), Some(9)),
            (Key::PageUp, Some(3), Some(0)),
            (Key::Home, Some(5), Some(0)),
            (Key::End, None, Some(9)),
            (Key::Enter, Some(5), None),
        ];
        for (key, at, expected) in cases {
            assert_eq!(moved(key, at, 10, 4), expected, "{key:?} {at:?}");
            assert_eq!(moved(key, None, 0, 4), None);
        }
    }
}
