//! What stands on the command line of bash before the cursor. bash passes it as it was typed, and what a completion replaces.

/// The words of a command line, without the name of the command.
pub(super) struct Line {
    /// Those before the last, without their quotes.
    pub(super) words: Vec<String>,
    pub(super) last: Word,
    /// Whether the last is the file of a redirection, which is no argument.
    pub(super) is_redirected: bool,
}

/// The word that is being typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes.
    pub(super) value: String,
    /// How much of the value stands before the part that bash replaces.
    kept: usize,
    /// The quotes that are open where that part begins.
    open: Quotes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    None,
    Single,
    Double,
}

impl Line {
    /// The words that a shell has divided itself, without redirections.
    pub(super) fn divided(words: &[String], last: Word) -> Self {
        Self { words: words.to_vec(), last, is_redirected: false }
    }

    /// Reads a line, of which bash replaces `fragment` at its end: bash also divides words at colons, equals signs and quotes.
    pub(super) fn parse(line: &str, fragment: &str) -> Self {
        let mut words = Vec::new();
        let mut is_redirected = false;
        let mut rest = line.trim_start();
        loop {
            let (raw, after) = rest.split_at(end_of_word(rest));
            let file = raw.get(length_of_redirection(raw)..).unwrap_or_default();
            let is_file = is_redirected || file.len() < raw.len();
            let raw = if is_redirected { raw } else { file };
            if after.is_empty() {
                let kept = raw.strip_suffix(fragment).unwrap_or_default();
                let (before, open) = unquoted(kept);
                let last = Word { value: unquoted(raw).0, kept: before.len(), open };
                let words = words.into_iter().skip(1).collect();
                return Self { words, last, is_redirected: is_file };
            }
            if !is_file {
                words.push(unquoted(raw).0);
            }
            // The file is the next word if it does not stand here
            is_redirected = is_file && raw.is_empty();
            rest = after.trim_start();
        }
    }
}

/// The value of a flag in words, the last if there are several: `--flag VALUE` or `--flag=VALUE`.
pub(super) fn value_of(words: &[String], flag: &str) -> Option<String> {
    let mut value = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(flag) {
            Some("") => value = words.next().cloned(),
            Some(rest) => value = rest.strip_prefix('=').map(str::to_owned).or(value),
            None => {}
        }
    }
    value
}

impl Word {
    /// A word without quotes, which the shell replaces as a whole.
    pub(super) fn plain(value: &str) -> Self {
        Self { value: value.to_owned(), kept: 0, open: Quotes::None }
    }

    /// A word as it was typed, which the shell replaces as a whole.
    pub(super) fn of(raw: &str) -> Self {
        Self::plain(&unquoted(raw).0)
    }

    /// The part that bash replaces, without its quotes.
    pub(super) fn fragment(&self) -> &str {
        self.value.get(self.kept..).unwrap_or_default()
    }

    /// What bash is to put in place of the fragment, so that the word becomes `value`; `None` if it does not begin as the word does.
    pub(super) fn quoted(&self, value: &str) -> Option<String> {
        let rest = value.strip_prefix(self.value.as_str()).and_then(|_| value.get(self.kept..))?;
        Some(match self.open {
            Quotes::None => backslashed(rest),
            // readline closes the quotes
            Quotes::Single => rest.replace('\'', r"'\''"),
            Quotes::Double => in_double_quotes(rest),
        })
    }
}

/// The length of the operator with which a word redirects to or from a file, or 0.
fn length_of_redirection(raw: &str) -> usize {
    let digits = raw.bytes().take_while(u8::is_ascii_digit).count();
    let operators = ["&>>", "&>", ">>", ">|", ">&", "<>", ">", "<"];
    let rest = raw.get(digits..).unwrap_or_default();
    let operator = operators.iter().find(|operator| rest.starts_with(**operator) && !rest.starts_with("<<"));
    operator.map_or(0, |operator| digits + operator.len())
}

/// The length of the first word, with its quotes. It is the whole text if the word does not end.
fn end_of_word(text: &str) -> usize {
    let (mut quotes, mut is_escaped) = (Quotes::None, false);
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match (quotes, c) {
            (Quotes::None, ' ' | '\t' | '\n') => return at,
            _ => (quotes, is_escaped) = after(quotes, c),
        }
    }
    text.len()
}

/// The state after a character: which quotes are open, and whether the next character is escaped.
fn after(quotes: Quotes, c: char) -> (Quotes, bool) {
    match (quotes, c) {
        (Quotes::None, '\'') => (Quotes::Single, false),
        (Quotes::None, '"') => (Quotes::Double, false),
        (Quotes::Single, '\'') | (Quotes::Double, '"') => (Quotes::None, false),
        (Quotes::None | Quotes::Double, '\\') => (quotes, true),
        _ => (quotes, false),
    }
}

/// A word without its quotes, and those that are open at its end.
fn unquoted(raw: &str) -> (String, Quotes) {
    let (mut value, mut quotes) = (String::new(), Quotes::None);
    let mut escaped_in = None;
    for c in raw.chars() {
        if let Some(quotes) = escaped_in.take() {
            if quotes == Quotes::Double && !"$`\"\\".contains(c) {
                value.push('\\');
            }
            value.push(c);
            continue;
        }
        let (next, escapes) = after(quotes, c);
        match escapes {
            true => escaped_in = Some(quotes),
            false if next == quotes => value.push(c),
            false => quotes = next,
        }
    }
    (value, quotes)
}

fn backslashed(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"/._-+,:@%=".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// An exclamation mark stands outside: it would recall an earlier command.
fn in_double_quotes(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        match c {
            '!' => quoted.push_str(r#""\!""#),
            '"' | '$' | '`' | '\\' => quoted.extend(['\\', c]),
            _ => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_divided_as_bash_does() {
        for (line, words, last) in [
            ("cardcase ", vec![], ""),
            ("cardcase sh", vec![], "sh"),
            ("  cardcase show Al", vec!["show"], "Al"),
            (r"cardcase show Alice\ Ex", vec!["show"], "Alice Ex"),
            ("cardcase show 'Alice Ex", vec!["show"], "Alice Ex"),
            (r#"cardcase rename "a \"b\" \c"  x"#, vec!["rename", r#"a "b" \c"#], "x"),
            (r"cardcase show 'it'\''s", vec!["show"], "it's"),
            ("cardcase show \"Élo", vec!["show"], "Élo"),
        ] {
            let parsed = Line::parse(line, "");
            assert_eq!(
                (parsed.words, parsed.last.value.as_str()),
                (words.into_iter().map(str::to_owned).collect(), last),
                "{line}"
            );
        }
    }

    #[test]
    fn redirections_are_no_arguments() {
        for (line, words, last, is_redirected) in [
            ("cardcase show a > o", vec!["show", "a"], "o", true),
            ("cardcase show a >o", vec!["show", "a"], "o", true),
            ("cardcase show a 2>> ", vec!["show", "a"], "", true),
            ("cardcase show a > out b", vec!["show", "a"], "b", false),
            ("cardcase <in show 2>&1 b", vec!["show"], "b", false),
            ("cardcase show '>' b", vec!["show", ">"], "b", false),
        ] {
            let parsed = Line::parse(line, "");
            let got = (parsed.words, parsed.last.value.as_str(), parsed.is_redirected);
            assert_eq!(got, (words.into_iter().map(str::to_owned).collect(), last, is_redirected), "{line}");
        }
    }

    #[test]
    fn what_bash_replaces_is_quoted_as_it_was_begun() {
        let name = "Alice \"A\" Example's $ca!rd";
        for (typed, fragment, expected) in [
            ("Al", "Al", r#"Alice\ \"A\"\ Example\'s\ \$ca\!rd"#),
            (r"Alice\ ", r"Alice\ ", r#"Alice\ \"A\"\ Example\'s\ \$ca\!rd"#),
            ("'Alice ", "Alice ", r#"Alice "A" Example'\''s $ca!rd"#),
            ("\"Alice ", "Alice ", r#"Alice \"A\" Example's \$ca"\!"rd"#),
            ("Ali'ce ", "ce ", r#"ce "A" Example'\''s $ca!rd"#),
        ] {
            let word = Line::parse(&format!("cardcase show {typed}"), fragment).last;
            assert_eq!(word.quoted(name).as_deref(), Some(expected), "{typed}");
            assert_eq!(word.quoted("Bob"), None);
        }
        let port = Line::parse("cardcase forget a.example:84", "84").last;
        assert_eq!(port.quoted("a.example:8443").as_deref(), Some("8443"));
    }
}
