//! Asks which identity to send line by line, with numbers: for terminals without a movable cursor, and for screen readers, to which a menu
//! that is redrawn at each key says everything again.

use std::io::{self, ErrorKind};

use super::candidate::{details, row};
use super::header::header;
use super::line::{DELIMITERS, Line, Look};
use super::listing::{Listing, Lists};
use super::picked::{LIFETIMES, Picked, SEND_NONE};
use super::search::Finder;
use super::tty::Tty;
use crate::answer::decision::Lifetime;
use crate::answer::settings::Mode;
use crate::select::chooser::{Question, Reply};
use crate::select::matching::Considered;
use crate::text::plain;

/// How many identities are listed at once.
const PAGE: usize = 10;

/// No row is cut: a line may be wrapped here.
const COLUMNS: usize = 400;

/// What may be typed.
const COMMANDS: &str = "Type a number, words to search for (/ before digits, / alone for all), + for the next page, ? to list identities \
                        that do not fit, or q to cancel";

/// Asks which identity to send.
pub(super) fn choose(question: &Question<'_>) -> Reply {
    let asked = Tty::open().map(|tty| Asking { question, tty, finder: Finder::new() }.run());
    match asked {
        Some(Ok(reply)) => reply,
        Some(Err(error)) if error.kind() == ErrorKind::Interrupted => Reply::Abort,
        _ => Reply::Nobody,
    }
}

struct Asking<'q> {
    question: &'q Question<'q>,
    tty: Tty,
    finder: Finder,
}

impl Asking<'_> {
    fn run(mut self) -> io::Result<Reply> {
        let mut lists = Lists::new(self.question);
        for line in header(self.question, COLUMNS) {
            self.say(&line)?;
        }
        let (mut first, mut is_new) = (0, true);
        loop {
            if std::mem::replace(&mut is_new, true) {
                self.list(lists.shown(), first, lists.shows_others)?;
            }
            // The selection fails then, whatever is answered
            if self.question.candidates.have_failed() {
                return Ok(Reply::Nobody);
            }
            let typed = self.tty.line(COMMANDS)?;
            let typed = typed.trim();
            match (typed, number(typed)) {
                ("", _) => is_new = false,
                ("q", _) => return Ok(Reply::Abort),
                ("+", _) if first + PAGE < lists.shown().len() => first += PAGE,
                ("+", _) if first > 0 => first = 0,
                ("+", _) => {
                    self.say(&Line::own("There are no more."))?;
                    is_new = false;
                }
                ("?", _) => {
                    lists.switch(self.question);
                    first = 0;
                }
                (_, Some(_)) if lists.shows_others => {
                    self.say(&Line::own("These do not fit, and have no numbers. Type ? to list those that fit."))?;
                    is_new = false;
                }
                (_, Some(0)) => {
                    if let Some(reply) = self.confirmed(Picked::None, &[])? {
                        return Ok(reply);
                    }
                }
                (_, Some(number)) => {
                    let picked = match lists.fitting.fingerprint(number - 1) {
                        Some(fingerprint) => self.question.candidates.read(&[fingerprint]).into_iter().flatten().next(),
                        None => None,
                    };
                    let Some(picked) = picked.filter(Considered::is_candidate) else {
                        self.say(&Line::own(&format!("There is no number {number}.")))?;
                        is_new = false;
                        continue;
                    };
                    let details = details(&picked, self.question, lists.fitting.query(), &mut self.finder);
                    if let Some(reply) = self.confirmed(Picked::Identity(picked.identity), &details)? {
                        return Ok(reply);
                    }
                }
                (words, None) => {
                    first = 0;
                    let listing = lists.shown_mut();
                    listing.search(words.strip_prefix('/').unwrap_or(words));
                    while listing.unsearched() > 0 {
                        listing.go_on(self.question, &mut self.finder);
                        self.tty.check_interrupt()?;
                    }
                }
            }
        }
    }

    /// Lists those that fit, each with its number, or the others with the reasons.
    fn list(&mut self, listing: &Listing, first: usize, are_others: bool) -> io::Result<()> {
        let shown: Vec<usize> = (first..first + PAGE).map_while(|place| listing.index(place)).collect();
        let fingerprints: Vec<_> = shown.iter().filter_map(|index| listing.fingerprint(*index)).collect();
        let read = self.question.candidates.read(&fingerprints);
        if are_others {
            self.say(&Line::own("These do not fit:"))?;
        }
        for (index, considered) in shown.iter().zip(&read) {
            let Some(considered) = considered else { continue };
            let number = if are_others { "  - ".to_owned() } else { format!("{:3} ", index + 1) };
            let line = match are_others {
                false => row(considered, self.question, listing.query(), &mut self.finder, COLUMNS),
                true => {
                    let line = Line::default().and_outside(&plain(considered.identity.name()), &[], &[]);
                    line.and(": ", Look::Plain).and_outside(&plain(&considered.notes().join("; ")), DELIMITERS, &[])
                }
            };
            self.say(&Line::own(&number).and_line(line))?;
        }
        match (listing.len(), listing.total()) {
            (0, 0) => self.say(&Line::own("Every identity fits."))?,
            (0, _) => self.say(&Line::own("No match."))?,
            (len, _) if first + PAGE < len => {
                self.say(&Line::own(&format!("{} to {} of {len}", first + 1, first + shown.len())))?;
            }
            _ => {}
        }
        if !are_others {
            self.say(&Line::own(&format!("  0 {SEND_NONE}")))?;
        }
        Ok(())
    }

    /// Says what was picked, and asks how long to remember it, or in chrome mode whether it is meant; `None` goes back.
    fn confirmed(&mut self, picked: Picked, details: &[Line]) -> io::Result<Option<Reply>> {
        self.say(&Line::own("You picked: ").and_line(picked.line()))?;
        for line in details {
            self.say(line)?;
        }
        let destination = self.question.destination;
        let lifetime = if self.question.mode == Mode::Chrome {
            let prompt = format!("Type yes to remember this answer for {destination}, or nothing to go back");
            (self.tty.line(&prompt)?.trim() == "yes").then_some(Lifetime::Permanent)
        } else {
            self.say(&Line::own(&format!("Remember this answer for {}?", destination.host())))?;
            for (place, (text, _)) in LIFETIMES.iter().enumerate() {
                self.say(&Line::own(&format!("{:3} {text}", place + 1)))?;
            }
            let typed = self.tty.line("Type a number, or nothing to go back")?;
            let lifetime = number(typed.trim()).and_then(|number| LIFETIMES.get(number.checked_sub(1)?));
            lifetime.map(|(_, lifetime)| *lifetime)
        };
        Ok(lifetime.map(|lifetime| picked.reply(lifetime)))
    }

    fn say(&mut self, line: &Line) -> io::Result<()> {
        self.tty.say(&line.bare())
    }
}

/// A number in digits alone. One that is too long is more than there are.
fn number(typed: &str) -> Option<usize> {
    let is_number = !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| typed.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_alone() {
        for (typed, expected) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("99999999999999999999999", Some(usize::MAX)),
            ("+5", None),
            ("-1", None),
            ("/5", None),
            ("", None),
            ("٣", None),
        ] {
            assert_eq!(number(typed), expected, "{typed:?}");
        }
    }
}
