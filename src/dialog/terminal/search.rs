//! Search as fzf does it: words in any order, each of them fuzzy.

use std::cmp::Reverse;

use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use unicode_normalization::UnicodeNormalization;

/// How a text is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The letters of a word are in it, in their order.
    Fuzzy,
    /// The word is in it. In long hexadecimal digits, nearly every word would be found otherwise.
    Exact,
}

/// What is searched for. A text matches when each word is in one of its fields.
#[derive(Debug, Default)]
pub(super) struct Query {
    words: Vec<Word>,
}

/// A word, in the forms that a text may have it.
#[derive(Debug)]
pub(super) struct Word {
    fuzzy: Vec<Atom>,
    /// In lower case.
    exact: Vec<String>,
}

impl Query {
    pub(super) fn new(text: &str) -> Self {
        Self { words: text.split_whitespace().map(Word::new).collect() }
    }

    pub(super) fn words(&self) -> &[Word] {
        &self.words
    }
}

impl Word {
    fn new(word: &str) -> Self {
        let (composed, decomposed): (String, String) = (word.nfc().collect(), word.nfd().collect());
        let forms = if composed == decomposed { vec![composed] } else { vec![composed, decomposed] };
        let atom = |form: &String| Atom::new(form, CaseMatching::Ignore, Normalization::Smart, AtomKind::Fuzzy, false);
        let mut exact: Vec<String> = forms.iter().map(|form| form.chars().map(lower).collect()).collect();
        // A fingerprint as OpenSSL prints it
        if word.contains(':') && word.chars().all(|c| c == ':' || c.is_ascii_hexdigit()) {
            exact.push(word.replace(':', "").to_lowercase());
        }
        Self { fuzzy: forms.iter().map(atom).collect(), exact }
    }

    /// The first characters in the text that are this word, by their position and number. nucleo-matcher 0.3.1 does not find a word at
    /// the end of a text if it begins with two digits and has letters.
    fn exactly_in(&self, text: &str) -> Option<(usize, usize)> {
        let begins = |at: usize, form: &String| {
            let mut rest = text.get(at..).unwrap_or_default().chars().map(lower);
            form.chars().all(|c| rest.next() == Some(c))
        };
        let form_at = |at| self.exact.iter().find(|form| begins(at, form)).map(|form| form.chars().count());
        text.char_indices().enumerate().find_map(|(position, (at, _))| Some((position, form_at(at)?)))
    }
}

/// One character for each, so that positions stay what they are.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// What a character scores in nucleo-matcher.
const SCORE: u32 = 16;

/// Searches texts.
pub(super) struct Finder {
    matcher: Matcher,
    buffer: Vec<char>,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { matcher: Matcher::new(Config::DEFAULT), buffer: Vec::new() }
    }

    /// How well the fields match; `None` if a word is in none of them.
    pub(super) fn score(&mut self, query: &Query, fields: &[(Kind, &str)]) -> Option<u32> {
        query.words.iter().try_fold(0_u32, |sum, word| {
            let best = fields.iter().filter_map(|(kind, text)| self.score_of(word, *kind, text)).max()?;
            Some(best.saturating_add(sum))
        })
    }

    /// Whether a word is in a field.
    pub(super) fn finds(&mut self, word: &Word, kind: Kind, text: &str) -> bool {
        self.score_of(word, kind, text).is_some()
    }

    /// The positions of the characters that match, in order.
    pub(super) fn marks(&mut self, query: &Query, kind: Kind, text: &str) -> Vec<u32> {
        let mut marks = Vec::new();
        for word in &query.words {
            match kind {
                Kind::Fuzzy => {
                    let text = Utf32Str::new(text, &mut self.buffer);
                    // Those of the first form that matches; the others add none
                    word.fuzzy.iter().find_map(|atom| atom.indices(text, &mut self.matcher, &mut marks));
                }
                Kind::Exact => {
                    let (from, length) = word.exactly_in(text).unwrap_or_default();
                    marks.extend((from..from + length).filter_map(|position| u32::try_from(position).ok()));
                }
            }
        }
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    fn score_of(&mut self, word: &Word, kind: Kind, text: &str) -> Option<u32> {
        match kind {
            Kind::Fuzzy => {
                let text = Utf32Str::new(text, &mut self.buffer);
                word.fuzzy.iter().filter_map(|atom| atom.score(text, &mut self.matcher)).max().map(u32::from)
            }
            Kind::Exact => {
                let (_, length) = word.exactly_in(text)?;
                Some(SCORE.saturating_mul(u32::try_from(length).unwrap_or(u32::MAX)))
            }
        }
    }
}

/// The texts that a search found so far, the best first.
#[derive(Debug, Default)]
pub(super) struct Found {
    ranked: Vec<(Reverse<u32>, usize)>,
}

impl Found {
    /// Adds matches with their scores. Among equal ones, the order of the texts stays.
    pub(super) fn add(&mut self, found: impl IntoIterator<Item = (u32, usize)>) {
        let before = self.ranked.len();
        self.ranked.extend(found.into_iter().map(|(score, index)| (Reverse(score), index)));
        if self.ranked.len() > before {
            self.ranked.sort_unstable();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ranked.len()
    }

    pub(super) fn get(&self, place: usize) -> Option<usize> {
        self.ranked.get(place).map(|(_, index)| *index)
    }

    pub(super) fn place(&self, index: usize) -> Option<usize> {
        self.ranked.iter().position(|(_, found)| *found == index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_order_are_found_in_any_field() {
        let fields = [
            (Kind::Fuzzy, "Zoë Müller"),
            (Kind::Fuzzy, "CN=Zoë Müller,O=Example Ltd"),
            (Kind::Fuzzy, "zoe@example.com"),
            (Kind::Exact, "09af31c2d4"),
        ];
        let cases = [
            ("", true),
            ("zoë", true),
            ("ZOE", true),
            ("zoe\u{308}", true),
            ("müller zoë", true),
            ("zmll", true),
            ("example 31c2 zoe@", true),
            ("31:C2:D4", true),
            ("31c2d4", true),
            ("09c2", false),
            ("zoe nobody", false),
            ("田", false),
        ];
        for (query, found) in cases {
            let score = Finder::new().score(&Query::new(query), &fields);
            assert_eq!(score.is_some(), found, "{query}");
        }
    }

    #[test]
    fn the_best_match_is_first_and_equal_ones_keep_their_order() {
        let texts = ["qaqlqiqcqe", "alice", "xalice", "alice", "bob"];
        let (query, mut finder, mut found) = (Query::new("alice"), Finder::new(), Found::default());
        let scored = texts
            .iter()
            .enumerate()
            .filter_map(|(index, text)| finder.score(&query, &[(Kind::Fuzzy, *text)]).map(|score| (score, index)));
        found.add(scored.collect::<Vec<_>>());
        let order: Vec<_> = (0..found.len()).filter_map(|place| found.get(place)).collect();
        assert_eq!(order, [1, 3, 2, 0]);
        assert_eq!((found.place(2), found.place(4)), (Some(2), None));
    }

    #[test]
    fn what_matches_is_marked() {
        let marks = |query: &str, kind, text: &str| Finder::new().marks(&Query::new(query), kind, text);
        assert_eq!(marks("lc", Kind::Fuzzy, "alice"), [1, 3]);
        assert_eq!(marks("太", Kind::Fuzzy, "田中 太郎"), [3]);
        assert_eq!(marks("לוי", Kind::Fuzzy, "דוד לוי"), [4, 5, 6]);
        assert_eq!(marks("c2:d4", Kind::Exact, "09af31c2d4"), [6, 7, 8, 9]);
        assert!(marks("x", Kind::Exact, "alice").is_empty());
    }
}
