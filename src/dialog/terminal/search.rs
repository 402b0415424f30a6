//! Search as fzf does it: words in any order, each of them fuzzy. Fuzzy matches are shown only where no text has the words as they were
//! typed: among few people, three letters are in nearly every name and issuer.

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

/// How well a text matches. The better match is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    /// Whether it has each word as it was typed.
    is_exact: bool,
    points: u32,
}

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
    pub(super) fn score(&mut self, query: &Query, fields: &[(Kind, &str)]) -> Option<Score> {
        let points = query.words.iter().try_fold(0_u32, |sum, word| {
            let best = fields.iter().filter_map(|(kind, text)| self.score_of(word, *kind, text)).max()?;
            Some(best.saturating_add(sum))
        })?;
        let has = |word: &Word| fields.iter().any(|(_, text)| word.exactly_in(text).is_some());
        Some(Score { is_exact: query.words.iter().all(has), points })
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
                Kind::Fuzzy if word.exactly_in(text).is_none() => {
                    let text = Utf32Str::new(text, &mut self.buffer);
                    // Those of the first form that matches; the others add none
                    word.fuzzy.iter().find_map(|atom| atom.indices(text, &mut self.matcher, &mut marks));
                }
                Kind::Fuzzy | Kind::Exact => {
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

/// The texts that a search found so far, the best first. Where some match exactly, the others are not shown.
#[derive(Debug, Default)]
pub(super) struct Found {
    ranked: Vec<(Reverse<Score>, usize)>,
    /// How many of them are shown.
    shown: usize,
}

impl Found {
    /// Adds matches with their scores. Among equal ones, the order of the texts stays.
    pub(super) fn add(&mut self, found: impl IntoIterator<Item = (Score, usize)>) {
        let before = self.ranked.len();
        self.ranked.extend(found.into_iter().map(|(score, index)| (Reverse(score), index)));
        if self.ranked.len() > before {
            self.ranked.sort_unstable();
        }
        let exact = self.ranked.partition_point(|(Reverse(score), _)| score.is_exact);
        self.shown = if exact > 0 { exact } else { self.ranked.len() };
    }

    pub(super) fn len(&self) -> usize {
        self.shown
    }

    pub(super) fn get(&self, place: usize) -> Option<usize> {
        self.ranked.get(..self.shown)?.get(place).map(|(_, index)| *index)
    }

    pub(super) fn place(&self, index: usize) -> Option<usize> {
        self.ranked.iter().take(self.shown).position(|(_, found)| *found == index)
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

    fn search(query: &str, texts: &[&str]) -> Found {
        let (query, mut finder, mut found) = (Query::new(query), Finder::new(), Found::default());
        // One by one, as a search goes on
        for (index, text) in texts.iter().enumerate() {
            found.add(finder.score(&query, &[(Kind::Fuzzy, *text)]).map(|score| (score, index)));
        }
        found
    }

    #[test]
    fn the_best_match_is_first_and_equal_ones_keep_their_order() {
        let order = |found: &Found| (0..found.len()).filter_map(|place| found.get(place)).collect::<Vec<_>>();
        let found = search("alice", &["xalice", "alice", "bob", "alice"]);
        assert_eq!(order(&found), [1, 3, 0]);
        assert_eq!((found.place(0), found.place(2)), (Some(2), None));
        let found = search("zmll", &["qzqmqlql", "zoe mueller", "bob", "zmqll"]);
        assert_eq!(order(&found).len(), 3);
        assert_eq!(order(&found).first(), Some(&3));
    }

    #[test]
    fn a_fuzzy_match_is_shown_only_where_none_is_exact() {
        let texts = ["CN=bob,O=Trial Ltd", "alice@example.com", "CN=carol,O=Trial Ltd"];
        for (query, found) in [("ali", 1), ("ALI example", 1), ("tal", 2), ("tld", 2), ("nobody", 0), ("", 3)] {
            assert_eq!(search(query, &texts).len(), found, "{query}");
        }
        let found = search("ali", &texts);
        assert_eq!((found.get(0), found.get(1), found.place(0)), (Some(1), None, None));
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
