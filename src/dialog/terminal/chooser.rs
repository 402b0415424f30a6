//! Asks which identity to send.

use std::io;
use std::time::{Duration, Instant};

use super::candidate::{DETAILS, INDENT, NARROW, details, gone, late, row};
use super::header::{header, remember};
use super::keys::Key;
use super::line::{Line, Look};
use super::listing::Lists;
use super::lock::is_taken;
use super::menu::{ESSENTIAL, Room, View, Wanted, columns_of, keys, menu, moved};
use super::numbered;
use super::picked::{LIFETIMES, Picked, SEND_NONE};
use super::screen::{Screen, TICK};
use super::search::Finder;
use super::settings::{is_plain, is_there};
use super::tty::Tty;
use super::turn::Turn;
use crate::answer::decision::Lifetime;
use crate::answer::settings::Mode;
use crate::request::Destination;
use crate::select::chooser::{Question, Reply};
use crate::select::matching::Considered;
use crate::text::plain;

/// The longest query, in characters. More can only be pasted by mistake.
const MAX_QUERY: usize = 200;

/// How often to show how far a search is.
const PROGRESS: Duration = Duration::from_millis(60);

/// Asks which identity to send, in a menu, or by numbers.
pub(in crate::dialog) fn choose(question: &Question<'_>) -> Reply {
    let Some(turn) = Turn::begin() else { return Reply::Nobody };
    if is_plain() {
        return numbered::choose(question);
    }
    let mut picking = Picking::new(question);
    loop {
        let picked = match picking.pick(&turn) {
            Ok(picked) => picked,
            Err(reply) => return reply,
        };
        match lifetime(&turn, question, &picked) {
            Ok(None) => {}
            Ok(Some(lifetime)) => return picked.reply(lifetime),
            Err(reply) => return reply,
        }
    }
}

/// Says that another process is asking about this destination, on another terminal or in a window.
pub(in crate::dialog) fn note_waiting(destination: &Destination) {
    // If the question is on this terminal, a line would be drawn across it
    if !is_there() || is_taken() {
        return;
    }
    if let Some(tty) = Tty::open() {
        let _ = tty.term().write_line(&format!("cardcase: waiting: another cardcase is asking about {destination}"));
    }
}

/// Asks how long to remember the answer; `None` goes back to the list. Chrome mode does not ask.
fn lifetime(turn: &Turn, question: &Question<'_>, picked: &Picked) -> Result<Option<Lifetime>, Reply> {
    if question.mode == Mode::Chrome {
        return Ok(Some(Lifetime::Permanent));
    }
    let rows: Vec<&str> = LIFETIMES.iter().map(|(text, _)| *text).chain(["Back"]).collect();
    let at = menu(turn, &picked.line(), |columns| remember(question, columns), &rows)?;
    Ok(LIFETIMES.get(at).map(|(_, lifetime)| *lifetime))
}

/// What is marked, if anything. The rows may change their places while a search goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marked {
    /// By its index in the listing.
    Identity(usize),
    None,
}

struct Picking<'q> {
    question: &'q Question<'q>,
    finder: Finder,
    lists: Lists,
    query: String,
    marked: Option<Marked>,
    /// How many rows the window had when it was drawn.
    page: usize,
    /// Whether the marked row is on the screen.
    is_readable: bool,
    /// The marked identity as it is on the screen.
    shown: Option<Considered>,
    /// A key that was pressed, for which something has to be drawn first.
    waiting: Option<Key>,
}

impl<'q> Picking<'q> {
    fn new(question: &'q Question<'q>) -> Self {
        Self {
            question,
            finder: Finder::new(),
            lists: Lists::new(question),
            query: String::new(),
            marked: None,
            page: 1,
            is_readable: false,
            shown: None,
            waiting: None,
        }
    }

    /// Lets the person pick an identity or none. Nothing is marked at first; what was searched for before stays.
    fn pick(&mut self, turn: &Turn) -> Result<Picked, Reply> {
        let mut screen = Screen::open(turn).ok_or(Reply::Nobody)?;
        (self.marked, self.waiting) = (None, None);
        self.run(&mut screen).unwrap_or(Err(Reply::Nobody))
    }

    fn run(&mut self, screen: &mut Screen) -> io::Result<Result<Picked, Reply>> {
        loop {
            self.draw(screen)?;
            // The selection fails then, whatever is answered
            if self.question.candidates.have_failed() {
                return Ok(Err(Reply::Nobody));
            }
            let Some(key) = self.next_key(screen)? else { continue };
            match key {
                Key::Enter if !self.is_readable => {}
                Key::Enter => match (self.marked, self.shown.take()) {
                    (Some(Marked::None), _) => return Ok(Ok(Picked::None)),
                    // One that was imported meanwhile may stand among those that did not fit
                    (_, Some(shown)) if shown.is_candidate() && !self.lists.shows_others => {
                        return Ok(Ok(Picked::Identity(shown.identity)));
                    }
                    _ => {}
                },
                Key::Interrupt => return Ok(Err(Reply::Abort)),
                Key::EndOfInput => return Ok(Err(Reply::Nobody)),
                Key::Escape if !self.query.is_empty() => {
                    self.edit(Key::EraseAll);
                    self.search();
                }
                Key::Escape if !self.lists.shows_others => return Ok(Err(Reply::Abort)),
                Key::Escape | Key::Others => self.switch(),
                Key::Char(_) | Key::EraseChar | Key::EraseWord | Key::EraseAll => {
                    self.edit(key);
                    // What was typed fast, or pasted, is searched for at once
                    while let Some(key) = screen.key(Duration::ZERO)? {
                        match key {
                            Key::Char(_) | Key::EraseChar | Key::EraseWord | Key::EraseAll => self.edit(key),
                            key => {
                                self.waiting = Some(key);
                                break;
                            }
                        }
                    }
                    self.search();
                }
                key => self.go(key),
            }
        }
    }

    /// The next key; `None` when something has to be drawn before it. Until then the search goes on.
    fn next_key(&mut self, screen: &mut Screen) -> io::Result<Option<Key>> {
        if let Some(waiting) = self.waiting.take() {
            return Ok(Some(waiting));
        }
        let since = Instant::now();
        let mut is_drawn = true;
        loop {
            let is_searching = self.lists.shown().unsearched() > 0;
            let within = if is_searching { Duration::ZERO } else { TICK };
            if let Some(key) = screen.key(within)? {
                // It means the rows that are on the screen when it takes effect
                return Ok(if is_drawn {
                    Some(key)
                } else {
                    self.waiting = Some(key);
                    None
                });
            }
            if screen.is_resized() {
                return Ok(None);
            }
            if is_searching {
                self.lists.shown_mut().go_on(self.question, &mut self.finder);
                is_drawn = false;
                if self.lists.shown().unsearched() == 0 || since.elapsed() > PROGRESS {
                    return Ok(None);
                }
            }
        }
    }

    /// Shows those that fit, or all others.
    fn switch(&mut self) {
        self.lists.switch(self.question);
        self.search();
    }

    /// Searches anew. Other rows are shown then, so none of them stays marked.
    fn search(&mut self) {
        self.marked = None;
        self.lists.shown_mut().search(&self.query);
    }

    /// Changes what is searched for.
    fn edit(&mut self, key: Key) {
        match key {
            Key::Char(c) if self.query.chars().count() < MAX_QUERY => self.query.push(c),
            Key::Char(_) => {}
            Key::EraseChar => drop(self.query.pop()),
            Key::EraseWord => {
                let word = self.query.trim_end();
                self.query.truncate(word.rfind(' ').map_or(0, |space| space + 1));
            }
            _ => self.query.clear(),
        }
    }

    /// Moves the mark. "Send no certificate" is the last place; while a search goes on, it is not, so that a key that was meant for what
    /// is searched for does not mark it.
    fn go(&mut self, key: Key) {
        let listing = self.lists.shown();
        let last = listing.len();
        let places = if listing.unsearched() > 0 { last } else { last + 1 };
        let at = match self.marked {
            None => None,
            Some(Marked::None) => Some(last),
            Some(Marked::Identity(index)) => listing.place(index),
        };
        if let Some(place) = moved(key, at, places, self.page) {
            self.marked = Some(listing.index(place).map_or(Marked::None, Marked::Identity));
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let (question, marked) = (self.question, self.marked);
        let size = screen.measure();
        let columns = columns_of(size.1);
        let (header, essential) = self.header(columns);
        let mut footer = self.footer(columns, false);
        let listing = self.lists.shown();
        let rows = listing.len().max(1);
        let at = match marked {
            Some(Marked::Identity(index)) => listing.place(index),
            _ => None,
        };
        let room = |footer: &[Line]| {
            let (header, list) = ((header.len(), essential), (rows + 1, 1));
            Room::new(size, Wanted { header, list, details: DETAILS, footer: footer.len() })
        };
        if rows > room(&footer).page(1) {
            footer = self.footer(columns, true);
        }
        let room = room(&footer);
        let page = room.page(1);
        // "Send no certificate" stands below the last page
        let first = match marked {
            Some(Marked::None) => listing.len().saturating_sub(1) / page * page,
            _ => at.map_or(0, |at| at / page * page),
        };
        let visible: Vec<usize> = (first..first + page).map_while(|place| listing.index(place)).collect();
        let fingerprints: Vec<_> = visible.iter().filter_map(|index| listing.fingerprint(*index)).collect();
        let mut read = question.candidates.read(&fingerprints);
        let (query, finder) = (listing.query(), &mut self.finder);
        let are_others = self.lists.shows_others;
        let of = |considered: &Option<Considered>| match considered {
            Some(considered) if are_others && considered.is_candidate() => late(),
            Some(considered) => row(considered, question, query, finder, columns.saturating_sub(2)),
            None => gone(),
        };
        let mut rows: Vec<Line> = read.iter().map(of).collect();
        if listing.len() == 0 {
            let text = match (listing.unsearched(), listing.total()) {
                (0, 0) => "every identity fits",
                (0, _) => "no match",
                _ => "searching…",
            };
            rows.push(Line::default().and(text, Look::Dim));
        }
        let marked_row = match marked {
            Some(Marked::None) => Some(rows.len()),
            _ => at.map(|at| at - first).filter(|row| *row < read.len()),
        };
        rows.push(Line::own(SEND_NONE));
        self.shown = marked_row.and_then(|row| read.get_mut(row)?.take());
        let details = match (&self.shown, marked) {
            (Some(shown), _) => details(shown, question, query, finder),
            (None, Some(Marked::None)) => vec![Line::own("The server is told that you have no certificate.")],
            _ => Vec::new(),
        };
        let view = View {
            header: &header,
            rows,
            marked: marked_row,
            details: fitted(details, room.details(), columns),
            footer,
        };
        self.page = page;
        self.is_readable = view.draw(&room, screen)?;
        Ok(())
    }

    /// The lines above the list, and how many of them are always shown.
    fn header(&self, columns: usize) -> (Vec<Line>, usize) {
        let mut wrapped = header(self.question, columns).into_iter().map(|line| line.wrapped(columns, 0));
        let mut lines = wrapped.next().unwrap_or_default();
        let mut essential = lines.len().min(ESSENTIAL);
        if self.lists.shows_others {
            lines.truncate(essential);
            lines.push(Line::default().and("These do not fit:", Look::Bold));
            essential += 1;
        } else {
            lines.extend(wrapped.flatten());
        }
        (lines, essential)
    }

    /// What is searched for, and the keys; for a list that is longer than the window, also the place in it.
    fn footer(&self, columns: usize, is_long: bool) -> Vec<Line> {
        let (query, shows_others, listing) = (plain(&self.query), self.lists.shows_others, self.lists.shown());
        let has_query = !query.is_empty();
        let mut lines = Vec::new();
        if has_query {
            let count = match (listing.len(), listing.total(), listing.unsearched()) {
                (found, total, 0) => format!("  ({found} of {total})"),
                (found, total, left) => format!("  ({found} so far, {left} of {total} to search)"),
            };
            let count = Line::default().and(&count, Look::Dim);
            let room = columns.saturating_sub(count.width() + 8);
            // What was typed last stays visible
            let mut typed = Line::default().and_outside(&query, &[], &[]);
            let width = typed.width();
            if width > room {
                typed = typed.from(query.chars().count().saturating_sub(room / 2));
            }
            lines.push(Line::own("Search: ").and_line(typed).and_line(count));
        }
        let others = match (shows_others, columns < NARROW) {
            (true, _) => "^O those that fit",
            (false, true) => "^O not fitting",
            (false, false) => "^O those that do not fit",
        };
        let escape = match (has_query, shows_others) {
            (true, _) => "Esc clear",
            (false, true) => "Esc back",
            (false, false) => "Esc cancel",
        };
        let place = match self.marked {
            Some(Marked::Identity(index)) => listing.place(index),
            _ => None,
        };
        let place =
            place.map_or(format!("{} in all", listing.len()), |place| format!("{} of {}", place + 1, listing.len()));
        let is_narrow = columns < NARROW;
        // Otherwise a low window would look as if it had them all
        let movement = if is_long && is_narrow { format!("↑↓ {place}") } else { "↑↓ move".to_owned() };
        let mut hints = vec![&movement, "Enter pick", escape, others];
        if !has_query {
            hints.push("type to search");
        }
        if is_long && !is_narrow {
            hints.push(&place);
        }
        lines.extend(keys(&hints, columns));
        lines
    }
}

/// Wraps the details if there is room for that.
fn fitted(details: Vec<Line>, room: usize, columns: usize) -> Vec<Line> {
    let mut left = room;
    let mut lines = Vec::new();
    let mut after = details.len();
    for line in details {
        after -= 1;
        // Each of those that follow gets at least one line
        let mut wrapped = line.clone().wrapped(columns, INDENT);
        if wrapped.len() > left.saturating_sub(after).max(1) {
            wrapped = vec![line];
        }
        left = left.saturating_sub(wrapped.len());
        lines.extend(wrapped);
    }
    lines
}
