//! Asks which identity to send line by line, with numbers: for terminals without a movable cursor, and for screen readers, to which a menu
//! that is redrawn at each key says everything again.

use std::io::{self, ErrorKind};

use super::candidate::{details, row};
use super::header::header;
use super::line::{DELIMITERS, Line, Look};
use super::listing::{Listing, Lists};
use super::picked::{LIFETIMES, Picked};
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
const COMMANDS: &str = "Type a number, words to search for, + for more, ? for those that do not fit, or q to cancel";

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
        for line in header(self.question, false) {
            self.say(&line)?;
        }
        let (mut first, mut is_new) = (0, true);
        loop {
            if std::mem::replace(&mut is_new, true) {
                self.list(lists.shown(), first, lists.shows_others)?;
            }
            let typed = self.tty.line(COMMANDS)?;
            let typed = typed.trim();
            match (typed, typed.parse::<usize>()) {
                ("", _) => is_new = false,
                ("q", _) => return Ok(Reply::Abort),
                ("+", _) if first + PAGE < lists.shown().len() => first += PAGE,
                ("+", _) => {
                    self.say(&Line::own("There are no more."))?;
                    is_new = false;
                }
                ("?", _) => {
                    lists.turn(self.question);
                    first = 0;
                }
                (_, Ok(0)) => {
                    if let Some(reply) = self.confirmed(Picked::None)? {
                        return Ok(reply);
                    }
                }
                (_, Ok(number)) => {
                    let picked = match lists.fitting.fingerprint(number - 1) {
                        Some(fingerprint) => self.question.candidates.read(&[fingerprint]).into_iter().flatten().next(),
                        None => None,
                    };
                    let Some(picked) = picked.filter(Considered::is_candidate) else {
                        self.say(&Line::own(&format!("There is no number {number}.")))?;
                        is_new = false;
                        continue;
                    };
                    for line in details(&picked, self.question, lists.fitting.query(), &mut self.finder) {
                        self.say(&line)?;
                    }
                    if let Some(reply) = self.confirmed(Picked::Identity(picked.identity))? {
                        return Ok(reply);
                    }
                }
                (words, Err(_)) => {
                    first = 0;
                    let listing = lists.shown_mut();
                    listing.search(words.strip_prefix('/').unwrap_or(words));
                    while listing.unsearched() > 0 {
                        listing.go_on(self.question, &mut self.finder);
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
            self.say(&Line::own("  0 Send no certificate"))?;
        }
        Ok(())
    }

    /// Asks how long to remember what was picked, or in chrome mode whether it is meant; `None` goes back.
    fn confirmed(&mut self, picked: Picked) -> io::Result<Option<Reply>> {
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
            let number = typed.trim().parse::<usize>().ok();
            let lifetime = number.and_then(|number| LIFETIMES.get(number.checked_sub(1)?));
            lifetime.map(|(_, lifetime)| *lifetime)
        };
        Ok(lifetime.map(|lifetime| picked.reply(lifetime)))
    }

    fn say(&mut self, line: &Line) -> io::Result<()> {
        self.tty.say(&line.bare())
    }
}
