//! A line of the screen: cut and wrapped by the width of its characters, with text from outside kept in its place.
//!
//! A terminal that shows right-to-left scripts reorders a line by the Unicode Bidirectional Algorithm (UAX #9), so that a name in such a
//! script would change places with what stands beside it. So each text from outside that has such characters is isolated (FSI and PDI):
//! it is reordered within itself and nowhere else. Terminals that do not reorder show nothing for the two characters.

use icu_properties::CodePointMapData;
use icu_properties::props::BidiClass;
use unicode_width::UnicodeWidthChar;

/// FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
const ISOLATE: (char, char) = ('\u{2068}', '\u{2069}');

/// How many combining characters one character may have. More of them would be drawn over the lines above and below.
const COMBINING: usize = 4;

/// What separates the parts of a distinguished name, and names from the sentence around them.
pub(super) const DELIMITERS: &[char] = &[',', '+', '=', '"', ';', '(', ')'];

/// How a character is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Plain,
    Bold,
    Dim,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    c: char,
    look: Look,
    is_marked: bool,
    /// Which text from outside it belongs to; 0 is text of our own.
    text: usize,
}

impl Cell {
    fn width(self) -> usize {
        // Never less than what a terminal takes that combines nothing, so that no line wraps
        self.c.width().unwrap_or(0)
    }
}

/// One line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    cells: Vec<Cell>,
    texts: usize,
}

impl Line {
    /// A line of our own text.
    pub(super) fn own(text: &str) -> Self {
        Self::default().and(text, Look::Plain)
    }

    /// Adds text of our own.
    pub(super) fn and(mut self, text: &str, look: Look) -> Self {
        self.cells.extend(text.chars().map(|c| Cell { c, look, is_marked: false, text: 0 }));
        self
    }

    /// Adds text from outside, already [plain](crate::text::plain), with the characters in `marks` marked. What stands between two of
    /// the delimiters is a text of its own.
    pub(super) fn and_outside(mut self, text: &str, delimiters: &[char], marks: &[u32]) -> Self {
        self.texts += 1;
        let mut marks = marks.iter().peekable();
        // As if there were too many before the first character: one there would combine with what is not its text
        let mut combining = COMBINING;
        for (position, c) in text.chars().enumerate() {
            let mut is_marked = marks.next_if(|mark| **mark as usize == position).is_some();
            let is_combining = c.width() == Some(0);
            combining = if is_combining { combining + 1 } else { 0 };
            // A combining character belongs to the one before it
            is_marked |= is_combining && position > 0 && self.cells.last().is_some_and(|before| before.is_marked);
            let text = if delimiters.contains(&c) {
                self.texts += 1;
                combining = COMBINING;
                0
            } else {
                self.texts
            };
            let cell = |c| Cell { c, look: Look::Plain, is_marked, text };
            if combining > COMBINING && is_combining {
                self.cells.extend(c.escape_unicode().map(cell));
            } else {
                self.cells.push(cell(c));
            }
        }
        self
    }

    /// Adds another line.
    pub(super) fn and_line(mut self, other: Self) -> Self {
        let texts = self.texts;
        let moved = |cell: Cell| Cell { text: if cell.text == 0 { 0 } else { cell.text + texts }, ..cell };
        self.cells.extend(other.cells.into_iter().map(moved));
        self.texts += other.texts;
        self
    }

    /// How many columns it takes.
    pub(super) fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).sum()
    }

    /// The same, if it takes no more columns than this; or else its beginning, with an ellipsis.
    pub(super) fn cut(mut self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns.saturating_sub(1);
        let fitting = self.cells.iter().take_while(|cell| match left.checked_sub(cell.width()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        let fitting = fitting.count();
        self.cells.truncate(fitting);
        if columns == 0 { self } else { self.and("…", Look::Plain) }
    }

    /// The same, if it takes no more columns than this; or else its beginning and its end, with an ellipsis between them. The end of a
    /// host's name says whose it is.
    pub(super) fn shortened(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let begin = self.clone().cut(columns / 3);
        let mut left = columns.saturating_sub(begin.width());
        let fitting = self.cells.iter().rev().take_while(|cell| match left.checked_sub(cell.width()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        let end = self.cells.len() - fitting.count();
        begin.and_line(Self { cells: self.cells.get(end..).unwrap_or_default().to_vec(), texts: self.texts })
    }

    /// Its end from this character on, after an ellipsis.
    pub(super) fn from(mut self, character: usize) -> Self {
        if character == 0 {
            return self;
        }
        self.cells.drain(..character.min(self.cells.len()));
        Self::own("…").and_line(self)
    }

    /// As many lines as it takes, the others indented. Breaks after a space or a comma where there is one near the end.
    pub(super) fn wrapped(self, columns: usize, indent: usize) -> Vec<Self> {
        let indent = if indent + 8 > columns { 0 } else { indent };
        let blank = Cell { c: ' ', look: Look::Plain, is_marked: false, text: 0 };
        let texts = self.texts;
        let (mut lines, mut line): (Vec<Vec<Cell>>, Vec<Cell>) = (Vec::new(), Vec::new());
        let mut width = 0;
        for cell in self.cells {
            if width + cell.width() > columns && !line.is_empty() {
                let end = line.iter().rposition(|cell| matches!(cell.c, ' ' | ',')).map_or(0, |at| at + 1);
                let rest = if 3 * end > 2 * line.len() { line.split_off(end) } else { Vec::new() };
                lines.push(std::mem::replace(&mut line, vec![blank; indent]));
                line.extend(rest);
                width = line.iter().map(|cell| cell.width()).sum();
                if cell.c == ' ' && line.len() == indent {
                    continue;
                }
            }
            width += cell.width();
            line.push(cell);
        }
        lines.push(line);
        lines.into_iter().map(|cells| Self { cells, texts }).collect()
    }

    /// What is written to a terminal; for the marked row `is_reversed`.
    pub(super) fn shown(&self, is_reversed: bool) -> String {
        let mut shown = String::new();
        for text in self.cells.chunk_by(|one, next| one.text == next.text) {
            self::isolated(text, &mut shown, |run, shown| {
                let codes = codes(run.first(), is_reversed);
                let is_styled = !codes.is_empty();
                if is_styled {
                    shown.push_str(&format!("\x1b[{codes}m"));
                }
                shown.extend(run.iter().map(|cell| cell.c));
                if is_styled {
                    shown.push_str("\x1b[0m");
                }
            });
        }
        shown
    }

    /// The same for a terminal without any capabilities.
    pub(super) fn bare(&self) -> String {
        let mut shown = String::new();
        for text in self.cells.chunk_by(|one, next| one.text == next.text) {
            self::isolated(text, &mut shown, |run, shown| shown.extend(run.iter().map(|cell| cell.c)));
        }
        shown
    }
}

/// Writes one text, isolated if it may be reordered.
fn isolated(text: &[Cell], shown: &mut String, write: impl Fn(&[Cell], &mut String)) {
    let is_outside = text.first().is_some_and(|cell| cell.text > 0);
    let is_isolated = is_outside && text.iter().any(|cell| is_right_to_left(cell.c));
    if is_isolated {
        shown.push(ISOLATE.0);
    }
    for run in text.chunk_by(|one, next| one.look == next.look && one.is_marked == next.is_marked) {
        write(run, shown);
    }
    if is_isolated {
        shown.push(ISOLATE.1);
    }
}

/// The parameters of SGR (ECMA-48 section 8.3.117). No colours: these attributes are on every terminal, and visible to everybody.
fn codes(cell: Option<&Cell>, is_reversed: bool) -> String {
    let Some(cell) = cell else { return String::new() };
    let checks = [
        (cell.look == Look::Bold || cell.is_marked, "1"),
        (cell.look == Look::Dim, "2"),
        (cell.is_marked, "4"),
        (is_reversed, "7"),
    ];
    checks.into_iter().filter(|(holds, _)| *holds).map(|(_, code)| code).collect::<Vec<_>>().join(";")
}

fn is_right_to_left(c: char) -> bool {
    let class = CodePointMapData::<BidiClass>::new().get(c);
    !c.is_ascii() && matches!(class, BidiClass::RightToLeft | BidiClass::ArabicLetter | BidiClass::ArabicNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in many scripts, and the columns that they take.
    const NAMES: [(&str, usize); 8] = [
        ("alice", 5),
        ("Zoë Müller", 10),
        ("Zoe\u{308}", 3),
        ("田中 太郎", 9),
        ("김철수", 6),
        ("😀 Smile", 8),
        ("דוד לוי", 7),
        ("กิตติ", 3),
    ];

    #[test]
    fn a_line_is_cut_at_a_column_and_never_within_a_character() {
        for (name, columns) in NAMES {
            let line = Line::default().and_outside(name, &[], &[]);
            assert_eq!(line.width(), columns, "{name}");
            for at in 1..columns + 2 {
                let cut = line.clone().cut(at);
                assert!(cut.width() <= at, "{name} at {at}");
                let shown = cut.bare().replace([ISOLATE.0, ISOLATE.1], "");
                match shown.strip_suffix('…') {
                    Some(begin) => {
                        let next = name.strip_prefix(begin).and_then(|rest| rest.chars().next());
                        assert!(at < columns && next.and_then(|c| c.width()) > Some(0), "{name} at {at}: {shown}");
                    }
                    None => assert!(shown == name && at >= columns, "{name} at {at}: {shown}"),
                }
                let wrapped = line.clone().wrapped(at, 0);
                assert!(at < 2 || wrapped.iter().all(|line| line.width() <= at), "{name} at {at}");
            }
        }
    }

    #[test]
    fn a_right_to_left_text_reorders_nothing_beside_it() {
        let (begin, end) = ISOLATE;
        let both = Line::default().and_outside("דוד 1", &[], &[]).and(" · ", Look::Plain).and_outside("לוי", &[], &[]);
        assert_eq!(both.bare(), format!("{begin}דוד 1{end} · {begin}לוי{end}"));
        // Also where it is cut
        assert_eq!(both.cut(4).bare(), format!("{begin}דוד{end}…"));
        let name = Line::default().and_outside("CN=דוד,2.5.4.5=לוי,O=x", DELIMITERS, &[]);
        assert_eq!(name.bare(), format!("CN={begin}דוד{end},2.5.4.5={begin}לוי{end},O=x"));
        assert_eq!(Line::default().and_outside("Zoë 田中", &[], &[]).bare(), "Zoë 田中", "only where it is needed");
    }

    #[test]
    fn marks_show_which_characters_match() {
        let line = Line::default().and_outside("Zoe\u{308}", &[], &[0, 2]);
        assert_eq!(line.shown(false), "\x1b[1;4mZ\x1b[0mo\x1b[1;4me\u{308}\x1b[0m");
        assert_eq!(Line::own("a").shown(true), "\x1b[7ma\x1b[0m");
        assert_eq!(line.bare(), "Zoe\u{308}");
    }

    #[test]
    fn combining_characters_stay_with_their_character() {
        let mark = "\u{301}";
        let escaped = "\\u{301}";
        for (text, expected) in [
            (format!("a{}", mark.repeat(4)), format!("a{}", mark.repeat(4))),
            (format!("a{}b", mark.repeat(6)), format!("a{}{}b", mark.repeat(4), escaped.repeat(2))),
            (format!("{mark}a"), format!("{escaped}a")),
            (format!("CN={mark}a{mark}"), format!("CN={escaped}a{mark}")),
        ] {
            assert_eq!(Line::own("x").and_outside(&text, DELIMITERS, &[]).bare(), format!("x{expected}"));
        }
    }

    #[test]
    fn a_shortened_line_keeps_its_beginning_and_its_end() {
        let host = "a.very.long.name.of.a.host.example.com:443";
        for columns in [3, 10, 24, 41] {
            let shown = Line::own(host).shortened(columns);
            let (begin, end) =
                shown.bare().split_once('…').map(|(begin, end)| (begin.to_owned(), end.to_owned())).unwrap();
            assert!(
                shown.width() == columns && host.starts_with(&begin) && host.ends_with(&end),
                "{columns}: {begin} {end}"
            );
            assert!(end.len() >= begin.len(), "{columns}: {begin} {end}");
        }
        assert_eq!(Line::own(host).shortened(host.len()).bare(), host);
    }

    #[test]
    fn a_wrapped_line_loses_nothing() {
        let text = "Issuer   CN=Example Issuing CA,OU=Department of Redundancy,O=Example Ltd";
        for columns in [20, 40, 79] {
            let lines = Line::own(text).wrapped(columns, 9);
            assert!(lines.iter().all(|line| line.width() <= columns), "{columns}");
            let joined: String = lines.iter().map(|line| line.bare().trim_start().to_owned()).collect();
            assert_eq!(joined.replace(' ', ""), text.replace(' ', ""), "{columns}");
        }
    }
}
