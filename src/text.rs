//! Text for people: what does not show in it is escaped.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Escapes every character that [does not show](is_unprintable), in text from a certificate or a server that is shown on one line.
pub fn plain(text: &str) -> String {
    escaped(text, is_unprintable)
}

/// The same for text of several lines, such as a page: tabs, ends of lines and spaces of every kind stay.
pub fn plain_lines(text: &str) -> String {
    let stays = |c: char| matches!(c, '\n' | '\t') || (c.is_whitespace() && !c.is_control() && !is_line_end(c));
    escaped(text, |c| is_unprintable(c) && !stays(c))
}

/// The same for JSON, whose escapes a program reads as the characters themselves.
pub fn plain_json(json: &str) -> String {
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return json.to_owned();
    }
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        // Between its strings JSON is ASCII, and its ends of lines stand nowhere else
        if is_unprintable(c) && c != '\n' {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        } else {
            plain.push(c);
        }
    }
    plain
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    plain
}

/// The ends of lines and paragraphs that Unicode adds.
fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether a character has to be escaped where it is shown: one that controls a terminal or reorders the text around it (Unicode
/// TR 36), that leaves no mark (other than the ordinary space), or that has no look of its own because Unicode does not assign it. Two
/// texts without such characters that differ in one of them do not look alike.
pub fn is_unprintable(c: char) -> bool {
    use GeneralCategory as G;
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(
        category,
        G::Control | G::Format | G::LineSeparator | G::ParagraphSeparator | G::PrivateUse | G::Unassigned
    ) || (category == G::SpaceSeparator && c != ' ')
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || BLANKS.contains(&c)
}

/// Symbols that are drawn as nothing: Braille without a dot, and the musical note without a head.
const BLANKS: [char; 2] = ['\u{2800}', '\u{1d159}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_unprintable() {
        let shown = [' ', '~', 'é', 'ß', 'Ж', '漢', '한', 'ا', 'ก', '\u{301}', '€', '😀', '\u{fffd}'];
        let unprintable = [
            // Control characters, and what reorders the text
            '\0',
            '\t',
            '\n',
            '\u{1b}',
            '\u{7f}',
            '\u{80}',
            '\u{85}',
            '\u{9b}',
            '\u{9f}',
            '\u{61c}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{2028}',
            '\u{2029}',
            // What leaves no mark
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{115f}',
            '\u{1160}',
            '\u{1680}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{2000}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{202f}',
            '\u{205f}',
            '\u{2060}',
            '\u{2064}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff0}',
            '\u{fff9}',
            '\u{1bca0}',
            '\u{1d159}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            // What no font knows
            '\u{378}',
            '\u{e000}',
            '\u{ffff}',
            '\u{10ffff}',
        ];
        for c in shown {
            assert!(!is_unprintable(c), "{c:?}");
        }
        for c in unprintable {
            assert!(is_unprintable(c), "{c:?}");
        }
    }

    #[test]
    fn what_does_not_show_is_escaped() {
        assert_eq!(plain("a\u{202e}\u{9b}\n\u{115f}\u{a0}C:\\x"), r"a\u{202e}\u{9b}\u{a}\u{115f}\u{a0}C:\x");
        assert_eq!(plain_lines("a\tb\u{a0}c\nd\re\u{1b}\u{2028}"), "a\tb\u{a0}c\nd\\u{d}e\\u{1b}\\u{2028}");
        let texts = ["a", "a\u{3164}", "\u{9b}31m", "\\", "\\u{a}", "\u{e0041}\u{7f}\u{202e}\n\"", "Zoë 漢字"];
        for text in texts {
            let json = plain_json(&serde_json::to_string_pretty(&[text]).unwrap());
            assert!(!json.contains(|c| is_unprintable(c) && c != '\n'), "{json:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [text], "{json}");
        }
    }
}
