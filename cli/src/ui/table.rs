//! Tables, written as their rows come.

use std::mem;

use cardcase::manage::{is_unprintable, plain};
use console::style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::ui::failure::Failure;
use crate::ui::stdout::{Reader, print, print_part};

/// The title of a column of fingerprints, which are never broken over two lines, so that they can be copied.
const FINGERPRINT: &str = "SHA-256";

/// Rows that are arranged together. A column is as wide as the widest cell of them, and of all rows before.
const BLOCK: usize = 1000;

/// Columns between two cells.
const GAP: usize = 2;

/// The next rows that are arranged together, read before the first of them is printed; `None` at the end.
pub(crate) fn next_block<T, E>(rows: &mut (impl Iterator<Item = Result<T, E>> + ?Sized)) -> Result<Option<Vec<T>>, E> {
    let block: Vec<T> = rows.take(BLOCK).collect::<Result<_, E>>()?;
    Ok((!block.is_empty()).then_some(block))
}

/// Prints a table.
pub(crate) fn print_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new(header);
    for row in rows {
        if table.print_row(row)? == Reader::Gone {
            return Ok(());
        }
    }
    table.finish()
}

/// A table as wide as the terminal, if stdout is one. The cells may hold untrusted text.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new(header);
    rows.into_iter().for_each(|row| table.add(row));
    table.take_block()
}

/// The colour of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tint {
    None,
    /// Something is about to be wrong.
    Doubtful,
    /// Something is wrong.
    Bad,
}

impl Tint {
    /// The text in this colour, if stdout shows colours.
    fn paint(self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Doubtful => style(text).yellow().to_string(),
            Self::Bad => style(text).red().to_string(),
        }
    }
}

/// A table that is printed while its rows are read.
pub(crate) struct Table {
    /// Escaped, and not printed yet. The header is the first row of the first block.
    rows: Vec<(Vec<String>, Tint)>,
    widths: Vec<usize>,
    /// The longest word of each column, if stdout is a terminal.
    words: Vec<usize>,
    /// Which columns are never broken.
    are_whole: Vec<bool>,
    /// The width of the terminal, if stdout is one.
    terminal: Option<usize>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let terminal = console::Term::stdout();
        Self::wide(header, terminal.is_term().then(|| terminal.size().1.into()))
    }

    fn wide(header: &[&str], terminal: Option<usize>) -> Self {
        let mut table = Self {
            rows: Vec::new(),
            widths: vec![0; header.len()],
            words: vec![0; header.len()],
            are_whole: header.iter().map(|title| *title == FINGERPRINT).collect(),
            terminal,
        };
        table.add(header.iter().map(|title| (*title).to_owned()).collect());
        table
    }

    /// Prints a row, together with those after it.
    pub(crate) fn print_row(&mut self, row: Vec<String>) -> Result<Reader, Failure> {
        self.print_tinted_row(row, Tint::None)
    }

    /// Prints a row in a colour.
    pub(crate) fn print_tinted_row(&mut self, row: Vec<String>, tint: Tint) -> Result<Reader, Failure> {
        self.add_tinted(row, tint);
        if self.rows.len() < BLOCK { Ok(Reader::Reads) } else { print_part(&self.take_block()) }
    }

    /// Prints what was not printed yet.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        print(&self.take_block())
    }

    fn add(&mut self, row: Vec<String>) {
        self.add_tinted(row, Tint::None);
    }

    fn add_tinted(&mut self, mut row: Vec<String>, tint: Tint) {
        for ((cell, width), word) in row.iter_mut().zip(&mut self.widths).zip(&mut self.words) {
            if cell.contains(is_unprintable) {
                *cell = plain(cell);
            }
            *width = (*width).max(width_of(cell));
            if self.terminal.is_some() {
                *word = cell.split(' ').map(width_of).fold(*word, usize::max);
            }
        }
        self.rows.push((row, tint));
    }

    fn take_block(&mut self) -> String {
        let rows = mem::take(&mut self.rows);
        let widths = self.fitting_widths();
        let mut block = String::new();
        for (row, tint) in &rows {
            if row.iter().zip(&widths).all(|(cell, width)| width_of(cell) <= *width) {
                push_line(&mut block, row, &widths, *tint);
            } else {
                let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| broken(cell, *width)).collect();
                for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                    let parts: Vec<&str> =
                        cells.iter().map(|lines| lines.get(line).map_or("", String::as_str)).collect();
                    push_line(&mut block, &parts, &widths, *tint);
                }
            }
        }
        block
    }

    /// How wide the columns are. On a terminal that is too narrow, each has room for its longest word, if that is possible, and the
    /// widest share what is left.
    fn fitting_widths(&self) -> Vec<usize> {
        let gaps = GAP * self.widths.len().saturating_sub(1);
        let Some(room) = self.terminal.map(|terminal| terminal.saturating_sub(gaps)) else {
            return self.widths.clone();
        };
        let columns = || self.widths.iter().zip(&self.words).zip(&self.are_whole);
        let mut least: Vec<usize> =
            columns().map(|((width, word), whole)| *if *whole { width } else { word }).collect();
        if least.iter().sum::<usize>() > room {
            least = columns().map(|((width, _), whole)| if *whole { *width } else { 0 }).collect();
        }
        let more: Vec<usize> = self.widths.iter().zip(&least).map(|(width, least)| width - least).collect();
        let shares = shares(room.saturating_sub(least.iter().sum()), &more);
        least.iter().zip(shares).map(|(least, share)| (least + share).max(1)).collect()
    }
}

/// Divides the room among those that want some of it: nobody gets more than they want, and those who get less get the same.
fn shares(mut room: usize, wanted: &[usize]) -> Vec<usize> {
    let mut by_size: Vec<(usize, usize)> = wanted.iter().copied().enumerate().collect();
    by_size.sort_by_key(|(_, wanted)| *wanted);
    let mut shares = vec![0; wanted.len()];
    let mut left = by_size.len();
    for (index, wanted) in by_size {
        if let Some(share) = shares.get_mut(index) {
            *share = wanted.min(room / left);
            room -= *share;
        }
        left -= 1;
    }
    shares
}

/// One line of cells that fit their columns, without spaces at its end.
fn push_line(out: &mut String, cells: &[impl AsRef<str>], widths: &[usize], tint: Tint) {
    let start = out.len();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cell.as_ref();
        out.push_str(cell);
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(width_of(cell)) + GAP));
    }
    out.truncate(out.trim_end_matches(' ').len());
    if tint != Tint::None {
        let line = out.split_off(start);
        out.push_str(&tint.paint(&line));
    }
    out.push('\n');
}

/// The lines of a cell in a column that is narrower: broken between words, and in a word only if it is wider than the column.
fn broken(cell: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in cell.split(' ') {
        if !line.is_empty() {
            if width_of(&line) + 1 + width_of(word) <= width {
                line.push(' ');
            } else {
                lines.push(mem::take(&mut line));
            }
        }
        for c in word.chars() {
            if !line.is_empty() && width_of(&line) + c.width().unwrap_or(0) > width {
                lines.push(mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// The columns that a text takes on a terminal.
fn width_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, width: Option<usize>) -> String {
        let mut table = Table::wide(header, width);
        rows.into_iter().for_each(|row| table.add(row));
        table.take_block()
    }

    fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_aligned_and_fingerprints_stay_whole() {
        let rows = [
            row(["", "0123456789abcdef", "a long note, too long for what is left of the line"]),
            row(["alice", "0123456789abcdef", ""]),
        ];
        let header = ["NAME", FINGERPRINT, "NOTE"];
        let lines = "NAME   SHA-256           NOTE\n       0123456789abcdef  a long note, too long for what is left of the line\n\
                     alice  0123456789abcdef\n";
        assert_eq!(arranged(&header, rows.clone(), None), lines);
        for width in [10, 20, 30, 40, 60] {
            let table = arranged(&header, rows.clone(), Some(width));
            assert_eq!(table.matches("0123456789abcdef").count(), 2, "{table}");
            // Four columns and a gap besides the fingerprints take at least 20
            assert!(width < 30 || table.lines().all(|line| line.len() <= width), "{width}:\n{table}");
        }
    }

    #[test]
    fn a_cell_that_is_too_wide_is_broken_between_words_if_possible() {
        let rows = [row(["alice", "one two three"]), row(["averyverylongname", "x"])];
        let expected = "NAME      NOTE\nalice     one two\n          three\naveryver  x\nylongnam\ne\n";
        assert_eq!(arranged(&["NAME", "NOTE"], rows, Some(18)), expected);
    }

    #[test]
    fn no_word_is_broken_while_another_column_has_spaces() {
        let rows = [row(["intranet.example.com", "Alice Maria Example"])];
        let expected = "HOST                  NAME\nintranet.example.com  Alice Maria\n                      Example\n";
        assert_eq!(arranged(&["HOST", "NAME"], rows, Some(34)), expected);
    }

    #[test]
    fn columns_are_counted_and_not_characters() {
        let rows = [row(["漢字", "x"]), row(["Zoë", "y"]), row(["e\u{301}", "z"]), row(["a\u{202e}", "w"])];
        let expected = "NAME       N\n漢字       x\nZoë        y\ne\u{301}          z\na\\u{202e}  w\n";
        assert_eq!(arranged(&["NAME", "N"], rows, None), expected);
    }

    #[test]
    fn later_blocks_keep_the_columns_of_those_before() {
        let mut table = Table::wide(&["NAME", "N"], None);
        table.add(row(["long name", "1"]));
        assert_eq!(table.take_block(), "NAME       N\nlong name  1\n");
        table.add(row(["short", "2"]));
        assert_eq!(table.take_block(), "short      2\n");
        assert_eq!(table.take_block(), "");
    }
}
