//! Tables.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

use cardcase::manage::plain;

use crate::ui::failure::Failure;
use crate::ui::stdout::print;

/// The title of a column of fingerprints, which are never broken over two lines, so that they can be copied.
const FINGERPRINT: &str = "SHA-256";

/// Prints a table.
pub(crate) fn print_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    print(&table(header, rows))
}

/// A table as wide as the terminal, if stdout is one. The cells may hold untrusted text.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let terminal = console::Term::stdout();
    arranged(header, rows, terminal.is_term().then(|| terminal.size().1))
}

fn arranged(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    if let Some(width) = width {
        table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
    }
    for (column, title) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if *title == FINGERPRINT {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>()));
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_fingerprints_stay_whole() {
        let row = |name: &str, note: &str| vec![name.to_owned(), "0123456789abcdef".to_owned(), note.to_owned()];
        let rows = [row("", "a long note, too long for what is left of the line"), row("alice", "")];
        let header = ["NAME", FINGERPRINT, "NOTE"];
        let lines = "NAME   SHA-256           NOTE\n       0123456789abcdef  a long note, too long for what is left of the line\n\
                     alice  0123456789abcdef\n";
        assert_eq!(arranged(&header, rows.clone(), None), lines);
        for width in [20, 30, 40, 60] {
            let table = arranged(&header, rows.clone(), Some(width));
            assert_eq!(table.matches("0123456789abcdef").count(), 2, "{table}");
        }
    }
}
