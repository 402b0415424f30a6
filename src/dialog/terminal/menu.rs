//! A list to pick from with the arrow keys. dialoguer's `Select` handles neither the end of input nor lines that are wider than
//! the screen, so this menu is our own, on the same crate `console`.

use std::io::{self, ErrorKind};

use console::{Key, Term, measure_text_width, style, truncate_str};

use super::settings::wait_for_key;
use super::tty::Tty;
use super::turn::Turn;
use crate::select::chooser::Reply;
use crate::text::plain;

/// What a menu returns.
pub(super) enum Picked {
    Row(usize),
    Nothing(Reply),
}

/// Lets the person pick one of `rows`. Enter alone picks nothing: the person has to move to a row first.
pub(super) fn menu(turn: &Turn, header: &[String], rows: &[String], details: &dyn Fn(usize) -> Vec<String>) -> Picked {
    let Some(tty) = Tty::open() else { return Picked::Nothing(Reply::Nobody) };
    turn.set_raw();
    let mut menu = Menu { term: tty.term(), header, rows, details, filter: String::new(), at: None, drawn: 0 };
    let picked = menu.run().unwrap_or(Picked::Nothing(Reply::Nobody));
    let _ = menu.clear();
    let _ = menu.term.show_cursor();
    picked
}

struct Menu<'a> {
    term: Term,
    header: &'a [String],
    rows: &'a [String],
    details: &'a dyn Fn(usize) -> Vec<String>,
    /// What was typed. Only rows that contain it are shown.
    filter: String,
    /// Which of the shown rows is marked, if any.
    at: Option<usize>,
    /// How many lines are on the screen.
    drawn: usize,
}

impl Menu<'_> {
    fn run(&mut self) -> io::Result<Picked> {
        self.term.hide_cursor()?;
        loop {
            let shown = self.shown();
            self.draw(&shown)?;
            let page = self.page();
            let last = shown.len().saturating_sub(1);
            wait_for_key()?;
            let key = match self.term.read_key_raw() {
                // By a signal; Ctrl-C is a key
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                key => key?,
            };
            match key {
                Key::Enter => {
                    if let Some(row) = self.at.and_then(|at| shown.get(at)) {
                        return Ok(Picked::Row(*row));
                    }
                }
                Key::ArrowDown | Key::Tab => {
                    self.at = Some(self.at.map_or(0, |at| if at == last { 0 } else { at + 1 }))
                }
                Key::ArrowUp | Key::BackTab => {
                    self.at = Some(self.at.filter(|&at| at > 0).map_or(last, |at| at - 1));
                }
                Key::PageDown => self.at = Some(self.at.map_or(0, |at| (at + page).min(last))),
                Key::PageUp => self.at = Some(self.at.map_or(0, |at| at.saturating_sub(page))),
                Key::Home => self.at = Some(0),
                Key::End => self.at = Some(last),
                Key::Escape | Key::CtrlC => return Ok(Picked::Nothing(Reply::Abort)),
                // Ctrl-D, the end of input
                Key::Char('\u{4}') => return Ok(Picked::Nothing(Reply::Nobody)),
                Key::Backspace => {
                    self.narrow(|filter| filter.truncate(filter.char_indices().last().map_or(0, |(at, _)| at)))
                }
                Key::Char(c) if !c.is_control() => self.narrow(|filter| filter.push(c)),
                _ => {}
            }
        }
    }

    /// Changes the filter. That shows other rows, so none of them stays marked.
    fn narrow(&mut self, change: impl Fn(&mut String)) {
        change(&mut self.filter);
        self.at = None;
    }

    fn shown(&self) -> Vec<usize> {
        let wanted = self.filter.to_lowercase();
        let fits = |row: &String| row.to_lowercase().contains(&wanted);
        self.rows.iter().enumerate().filter(|(_, row)| fits(row)).map(|(index, _)| index).collect()
    }

    /// How many rows fit between the header and the details.
    fn page(&self) -> usize {
        let (height, _) = self.term.size();
        // Seven lines of details, the help, an empty line above each, and the line of the cursor
        let taken = self.header.len() + if (self.details)(0).is_empty() { 4 } else { 11 };
        usize::from(height).saturating_sub(taken).max(1)
    }

    fn draw(&mut self, shown: &[usize]) -> io::Result<()> {
        let (height, width) = self.term.size();
        let page = self.page();
        let first = self.at.map_or(0, |at| at / page * page);
        let mut lines: Vec<String> = self.header.to_vec();
        lines.push(String::new());
        for (place, row) in shown.iter().enumerate().skip(first).take(page) {
            let text = self.rows.get(*row).map(String::as_str).unwrap_or_default();
            lines.push(if self.at == Some(place) {
                style(format!("> {text}")).for_stderr().reverse().to_string()
            } else {
                format!("  {text}")
            });
        }
        if let Some(row) = self.at.and_then(|at| shown.get(at)) {
            let details = (self.details)(*row);
            if !details.is_empty() {
                lines.push(String::new());
                lines.extend(details);
            }
        }
        lines.push(String::new());
        lines.push(self.help(shown.len(), first, page));
        self.clear()?;
        lines.truncate(usize::from(height).saturating_sub(1));
        for line in &lines {
            // The last column stays free, since a terminal may wrap there
            let width = usize::from(width).saturating_sub(1);
            let cut = if measure_text_width(line) > width { truncate_str(line, width, "…") } else { line.into() };
            self.term.write_line(&cut)?;
        }
        self.drawn = lines.len();
        self.term.flush()
    }

    fn help(&self, shown: usize, first: usize, page: usize) -> String {
        let place = if shown > page {
            format!("{}-{} of {shown}  ", first + 1, (first + page).min(shown))
        } else {
            String::new()
        };
        let filter = if self.filter.is_empty() { "type to filter" } else { self.filter.as_str() };
        let keys = "↑↓ PgUp PgDn, Enter to pick, Esc to abort";
        style(format!("{place}{keys}  [{}]", plain(filter))).for_stderr().dim().to_string()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.term.clear_last_lines(std::mem::take(&mut self.drawn))?;
        // Another process may have written below that it waits
        self.term.clear_to_end_of_screen()
    }
}
