//! The terminal: choosing an identity, typing passwords, and leaving the terminal as it was found.
//!
//! dialoguer's `Select` knows neither the end of input nor lines wider than the screen, so the menu here is our own,
//! on the same `console` crate; dialoguer asks for confirmations, and `tty` for passwords. What is not asked by `tty` is drawn
//! on stderr, and read from stdin or, when that is taken, from the terminal itself.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cardcase::Chooser;
use cardcase::Destination;
use cardcase::Error;
use cardcase::Unlocker;
use cardcase::ask::{Considered, Warning};
use cardcase::ask::{Question, Reply};
use cardcase::manage::Certificate;
use cardcase::manage::Name;
use cardcase::manage::{Lifetime, Mode};
use console::{Key, Term, measure_text_width, style, truncate_str};
use dialoguer::Confirm;
use dialoguer::theme::SimpleTheme;
use rustix::fs::OFlags;
use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::app::eprint_line;
use crate::ask::assuan;
use crate::ask::tty::Tty;
use crate::ask::undo;
use crate::ui::failure::{Code, Failure};
use crate::ui::output::{days_from, plain};
use crate::ui::progress;

/// Authorities of a request shown by name; the rest is counted.
const AUTHORITIES_SHOWN: usize = 3;

/// The terminal's settings while a question is open, for whoever has to leave in the middle of it.
static ASKING: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether this run asked anything.
static ASKED: AtomicBool = AtomicBool::new(false);

/// How long another may need to write a line while it holds the terminal.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Whether Ctrl-Z may stop this process: whoever is stopped with a question open holds back all others.
static MAY_BE_STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let may = Arc::new(AtomicBool::new(true));
    // Where no handler can be had, Ctrl-Z stops it all the same
    let _ = signal_hook::flag::register_conditional_default(SIGTSTP, may.clone());
    may
});

/// Whether a person can be asked: stderr is a terminal, there is one to read from, and this process has it.
pub(crate) fn is_there() -> bool {
    Term::stderr().features().is_attended() && settings().is_ok() && !is_in_background()
}

/// Whether the shell runs this process in the background: reading keys would stop it.
pub(crate) fn is_in_background() -> bool {
    // A terminal that is not that of the session has no foreground
    let foreground = with_input(|input| tcgetattr(input).map(|_| tcgetpgrp(input)));
    matches!(foreground, Ok(Ok(group)) if group != getpgrp())
}

/// Lends the terminal, if there is one, to another program until it is dropped.
pub(crate) fn lend() -> Lent {
    Lent { _asking: Asking::begin(), _turn: Turn::wait() }
}

/// On a signal: puts the terminal back, stores nothing, and leaves.
pub(crate) fn restore_on_signals() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP]) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        assuan::stop();
        restore();
        progress::clear();
        undo::all();
        std::process::exit(match signal {
            SIGINT => Code::Interrupted as i32,
            // The terminal has gone, and with it whoever was asked
            SIGHUP if ASKED.load(Ordering::Relaxed) => Code::NobodyToAsk as i32,
            signal => 128 + signal,
        });
    });
}

fn restore() {
    if let Some(before) = ASKING.lock().ok().and_then(|mut asking| asking.take()) {
        let stderr = Term::stderr();
        if stderr.is_term() {
            let _ = stderr.show_cursor();
        }
        let _ = with_input(|input| tcsetattr(input, OptionalActions::Now, &before));
    }
}

fn settings() -> rustix::io::Result<Termios> {
    with_input(|input| tcgetattr(input))
}

/// The terminal that keys come from: stdin, or what is behind it.
fn with_input<T>(work: impl Fn(rustix::fd::BorrowedFd<'_>) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    use rustix::fd::AsFd;
    work(io::stdin().as_fd()).or_else(|_| {
        let terminal = File::open("/dev/tty").map_err(|_| rustix::io::Errno::NOTTY)?;
        work(terminal.as_fd())
    })
}

/// The terminal, to be locked by whoever asks on it.
fn open_terminal() -> Option<File> {
    let name = rustix::termios::ttyname(io::stderr(), Vec::new()).ok()?;
    // Opening a terminal must not make it the controlling one
    let flags = OFlags::NOCTTY.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(OsStr::from_bytes(name.as_bytes())).ok()
}

/// Whether another has it; one that cannot be locked nobody has.
fn is_taken(terminal: &File) -> bool {
    matches!(terminal.try_lock(), Err(TryLockError::WouldBlock))
}

/// The right to ask on this terminal. Holds back the questions of other threads and processes there until it is dropped.
struct Turn {
    _terminal: Option<File>,
}

impl Turn {
    /// Waits for the turn; `None` where nobody can be asked, since this process is in the background.
    fn wait() -> Option<Self> {
        let turn = Self { _terminal: open_terminal() };
        MAY_BE_STOPPED.store(false, Ordering::SeqCst);
        if is_in_background() {
            return None;
        }
        if let Some(terminal) = &turn._terminal
            && is_taken(terminal)
        {
            std::thread::sleep(A_MOMENT);
            if is_taken(terminal) {
                note_below("cardcase: waits while another cardcase asks on this terminal");
                // Where it cannot be locked, questions are asked all the same
                let _ = terminal.lock();
                let _ = Term::stderr().clear_to_end_of_screen();
            }
        }
        (!is_in_background()).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        MAY_BE_STOPPED.store(true, Ordering::SeqCst);
    }
}

/// Writes behind another's question, and leaves the cursor where that has it: the question is drawn over from there. What
/// does not fit the line is cut by the terminal.
fn note_below(text: &str) {
    let _ = Term::stderr().write_str(&format!("\x1b7\x1b[?7l{text}\x1b[?7h\x1b8"));
}

/// A question is open from here until this is dropped; then the terminal is as it was.
struct Asking;

impl Asking {
    /// Key by key, for the menu. What was typed before it was on the screen was not meant for it, and is thrown away.
    /// Raw from end to end: between two keys `console` would go back to a mode in which Ctrl-D is lost and keys show.
    fn keys() -> Self {
        let asking = Self::begin();
        if let Ok(mut raw) = settings() {
            let output = raw.output_modes;
            raw.make_raw();
            raw.output_modes = output;
            let _ = with_input(|input| tcsetattr(input, OptionalActions::Flush, &raw));
        }
        asking
    }

    fn begin() -> Self {
        ASKED.store(true, Ordering::Relaxed);
        if let Ok(mut asking) = ASKING.lock() {
            *asking = settings().ok();
        }
        Self
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        restore();
    }
}

/// The terminal is another program's from here until this is dropped; then it is as it was.
pub(crate) struct Lent {
    _asking: Asking,
    _turn: Option<Turn>,
}

/// Asks which identity to send.
pub(crate) struct TerminalChooser;

impl Chooser for TerminalChooser {
    fn can_ask(&self) -> bool {
        is_there()
    }

    fn waiting(&self, destination: &Destination) {
        let terminal = open_terminal();
        if terminal.as_ref().is_some_and(is_taken) {
            // The person sees that question, and a line across it would not help
            return;
        }
        eprint_line(&format!("cardcase: waiting for the answer given to another cardcase about {destination}"));
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        let Some(_turn) = Turn::wait() else { return Reply::Nobody };
        loop {
            let mut rows: Vec<String> = question.candidates.iter().map(|candidate| row(candidate, question)).collect();
            rows.push("Send no certificate".to_owned());
            let details = |index: usize| match question.candidates.get(index) {
                Some(candidate) => details(candidate, question),
                None => vec!["The server is told that you have no certificate.".to_owned()],
            };
            let index = match menu(&header(question), &rows, &details) {
                Picked::Row(index) => index,
                Picked::Nothing(reply) => return reply,
            };
            let Some(lifetime) = (match lifetime(question, rows.get(index)) {
                Ok(lifetime) => lifetime,
                Err(reply) => return reply,
            }) else {
                continue;
            };
            return if index < question.candidates.len() {
                Reply::Identity { index, lifetime }
            } else {
                Reply::None { lifetime }
            };
        }
    }
}

/// How long to remember the answer; `None` is back to the list. Chrome mode does not ask.
fn lifetime(question: &Question<'_>, picked: Option<&String>) -> Result<Option<Lifetime>, Reply> {
    if question.mode == Mode::Chrome {
        return Ok(Some(Lifetime::Permanent));
    }
    let header = vec![
        picked.cloned().unwrap_or_default(),
        format!("Remember this answer for {}?", plain(question.destination.host())),
    ];
    let rows = ["Just this once", "Until I log out", "Permanently", "Back"].map(str::to_owned);
    let lifetimes = [Some(Lifetime::Once), Some(Lifetime::Session), Some(Lifetime::Permanent)];
    match menu(&header, &rows, &|_| Vec::new()) {
        Picked::Row(index) => Ok(lifetimes.get(index).copied().flatten()),
        Picked::Nothing(reply) => Err(reply),
    }
}

fn header(question: &Question<'_>) -> Vec<String> {
    let mut lines = vec![format!("{} asks for a client certificate.", style(question.destination).for_stderr().bold())];
    if let Some(refused) = question.refused.last() {
        lines.insert(0, format!("{}.", plain(&refused.to_string())));
    }
    lines.push(asked_for(&question.request.authorities));
    if question.request.is_visible() {
        lines.push("Below TLS 1.3 whoever listens on the network can see which one you send.".to_owned());
    }
    if let Some(unfit) = question.unfit {
        lines.push(format!("The remembered certificate no longer fits: {}.", plain(&unfit.to_string())));
    }
    lines
}

/// The authorities a server named, by organisation and name, shortened.
fn asked_for(authorities: &[Name]) -> String {
    if authorities.is_empty() {
        return "It takes certificates of any issuer.".to_owned();
    }
    let shown: Vec<String> = authorities.iter().take(AUTHORITIES_SHOWN).map(authority).collect();
    let more = match authorities.len().saturating_sub(AUTHORITIES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("Issuers it names: {}{more}.", shown.join("; "))
}

fn authority(name: &Name) -> String {
    let common = name.common_name();
    let organisation = name.attribute("O").filter(|organisation| *organisation != common);
    let full = organisation.map_or_else(|| common.clone(), |organisation| format!("{common} ({organisation})"));
    truncate_str(&plain(&full), 60, "…").into_owned()
}

/// One line of the list: name, issuer, validity, and what is odd about it.
fn row(candidate: &Considered, question: &Question<'_>) -> String {
    let certificate = candidate.identity.certificate();
    let expiry = days_from(question.now, certificate.not_after());
    let odd: Vec<&str> = candidate
        .warnings
        .iter()
        .filter(|warning| !matches!(warning, Warning::VisibleBelowTls13 | Warning::Expired))
        .map(|warning| warning.text())
        .chain(was_refused(candidate, question).then_some("refused just now"))
        .collect();
    let validity = if candidate.warnings.contains(&Warning::Expired) {
        format!("EXPIRED {expiry}")
    } else {
        format!("expires {expiry}")
    };
    let mut parts = vec![plain(candidate.identity.name()), plain(&certificate.issuer().common_name()), validity];
    if !odd.is_empty() {
        parts.push(odd.join(", "));
    }
    parts.join(" · ")
}

fn was_refused(candidate: &Considered, question: &Question<'_>) -> bool {
    let fingerprint = Some(candidate.identity.fingerprint());
    question.refused.iter().any(|refused| refused.answer.fingerprint() == fingerprint)
}

/// Everything about a candidate that tells it from another.
fn details(candidate: &Considered, question: &Question<'_>) -> Vec<String> {
    let certificate = candidate.identity.certificate();
    let emails = match certificate.emails() {
        [] => "none".to_owned(),
        emails => plain(&emails.join(", ")),
    };
    let mut lines = vec![
        format!("Subject  {}", plain(&certificate.subject().to_string())),
        format!("E-mail   {emails}"),
        format!("Issuer   {}", plain(&certificate.issuer().to_string())),
        format!("Usage    {}", usages(certificate)),
        format!("Serial   {}  SHA-256 {}…", certificate.serial(), certificate.fingerprint().short()),
        format!(
            "Valid    {} to {} ({})  Key {}",
            certificate.not_before().date(),
            certificate.not_after().date(),
            days_from(question.now, certificate.not_after()),
            certificate.key(),
        ),
    ];
    let warnings: Vec<&str> = candidate.warnings.iter().map(|warning| warning.text()).collect();
    if !warnings.is_empty() {
        lines.push(format!("Note     {}", warnings.join("; ")));
    }
    lines
}

/// What a certificate says it is for: key usages, then extended ones.
fn usages(certificate: &Certificate) -> String {
    let listed = |usages: Option<Vec<&str>>| usages.map_or("any".to_owned(), |usages| usages.join(", "));
    let extended = certificate.extended_key_usage().map(|usages| usages.iter().map(String::as_str).collect());
    format!("{}; extended: {}", listed(certificate.key_usage()), listed(extended))
}

/// What became of a menu.
enum Picked {
    Row(usize),
    Nothing(Reply),
}

/// Lets the person pick one of `rows`. Nothing is picked by Enter alone: a row has to be moved to first.
fn menu(header: &[String], rows: &[String], details: &dyn Fn(usize) -> Vec<String>) -> Picked {
    let _asking = Asking::keys();
    let mut menu = Menu { term: Term::stderr(), header, rows, details, filter: String::new(), at: None, drawn: 0 };
    let picked = menu.run().unwrap_or_else(|error| match error.kind() {
        ErrorKind::Interrupted => Picked::Nothing(Reply::Abort),
        _ => Picked::Nothing(Reply::Nobody),
    });
    let _ = menu.clear();
    let _ = menu.term.show_cursor();
    picked
}

struct Menu<'a> {
    term: Term,
    header: &'a [String],
    rows: &'a [String],
    details: &'a dyn Fn(usize) -> Vec<String>,
    /// What was typed; only rows that contain it are shown.
    filter: String,
    /// Which of the shown rows is marked.
    at: Option<usize>,
    /// Lines on the screen.
    drawn: usize,
}

impl Menu<'_> {
    fn run(&mut self) -> io::Result<Picked> {
        self.term.hide_cursor()?;
        loop {
            let shown = self.shown();
            self.draw(&shown)?;
            let page = self.page();
            let last = shown.len().saturating_sub(1);
            match self.term.read_key_raw()? {
                Key::Enter => {
                    if let Some(row) = self.at.and_then(|at| shown.get(at)) {
                        return Ok(Picked::Row(*row));
                    }
                }
                Key::ArrowDown | Key::Tab => {
                    self.at = Some(self.at.map_or(0, |at| if at == last { 0 } else { at + 1 }))
                }
                Key::ArrowUp | Key::BackTab => {
                    self.at = Some(self.at.filter(|&at| at > 0).map_or(last, |at| at - 1));
                }
                Key::PageDown => self.at = Some(self.at.map_or(0, |at| (at + page).min(last))),
                Key::PageUp => self.at = Some(self.at.map_or(0, |at| at.saturating_sub(page))),
                Key::Home => self.at = Some(0),
                Key::End => self.at = Some(last),
                Key::Escape | Key::CtrlC => return Ok(Picked::Nothing(Reply::Abort)),
                // Ctrl-D: the end of what is typed
                Key::Char('\u{4}') => return Ok(Picked::Nothing(Reply::Nobody)),
                Key::Backspace => {
                    self.narrow(|filter| filter.truncate(filter.char_indices().last().map_or(0, |(at, _)| at)))
                }
                Key::Char(c) if !c.is_control() => self.narrow(|filter| filter.push(c)),
                _ => {}
            }
        }
    }

    /// Another filter shows other rows, so none of them is marked.
    fn narrow(&mut self, change: impl Fn(&mut String)) {
        change(&mut self.filter);
        self.at = None;
    }

    fn shown(&self) -> Vec<usize> {
        let wanted = self.filter.to_lowercase();
        let fits = |row: &String| row.to_lowercase().contains(&wanted);
        self.rows.iter().enumerate().filter(|(_, row)| fits(row)).map(|(index, _)| index).collect()
    }

    /// Rows that fit between the header and the details.
    fn page(&self) -> usize {
        let (height, _) = self.term.size();
        // Seven lines of details, the help, an empty line above each, and the line the cursor stands on
        let taken = self.header.len() + if (self.details)(0).is_empty() { 4 } else { 11 };
        usize::from(height).saturating_sub(taken).max(1)
    }

    fn draw(&mut self, shown: &[usize]) -> io::Result<()> {
        let (height, width) = self.term.size();
        let page = self.page();
        let first = self.at.map_or(0, |at| at / page * page);
        let mut lines: Vec<String> = self.header.to_vec();
        lines.push(String::new());
        for (place, row) in shown.iter().enumerate().skip(first).take(page) {
            let text = self.rows.get(*row).map(String::as_str).unwrap_or_default();
            lines.push(if self.at == Some(place) {
                style(format!("> {text}")).for_stderr().reverse().to_string()
            } else {
                format!("  {text}")
            });
        }
        if let Some(row) = self.at.and_then(|at| shown.get(at)) {
            let details = (self.details)(*row);
            if !details.is_empty() {
                lines.push(String::new());
                lines.extend(details);
            }
        }
        lines.push(String::new());
        lines.push(self.help(shown.len(), first, page));
        self.clear()?;
        lines.truncate(usize::from(height).saturating_sub(1));
        for line in &lines {
            // The last column stays free: a terminal may wrap at it
            let width = usize::from(width).saturating_sub(1);
            let cut = if measure_text_width(line) > width { truncate_str(line, width, "…") } else { line.into() };
            self.term.write_line(&cut)?;
        }
        self.drawn = lines.len();
        self.term.flush()
    }

    fn help(&self, shown: usize, first: usize, page: usize) -> String {
        let place = if shown > page {
            format!("{}-{} of {shown}  ", first + 1, (first + page).min(shown))
        } else {
            String::new()
        };
        let filter = if self.filter.is_empty() { "type to filter" } else { self.filter.as_str() };
        let keys = "↑↓ PgUp PgDn, Enter to pick, Esc to abort";
        style(format!("{place}{keys}  [{}]", plain(filter))).for_stderr().dim().to_string()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.term.clear_last_lines(std::mem::take(&mut self.drawn))?;
        // Somebody who waits may have said so below
        self.term.clear_to_end_of_screen()
    }
}

/// Asks for the primary password.
pub(crate) struct TerminalUnlocker;

impl Unlocker for TerminalUnlocker {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        let prompt = if attempt == 1 { "Primary password" } else { "Wrong. Primary password" };
        password(prompt).map_err(|failure| match failure.code {
            Code::Interrupted => Error::Declined,
            _ => Error::VaultLocked,
        })
    }
}

/// Asks for a password, which is not shown.
pub(crate) fn password(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let tty = Tty::open().ok_or_else(nobody_there)?;
    let _turn = Turn::wait().ok_or_else(nobody_there)?;
    let _asking = Asking::begin();
    tty.password(&plain(prompt)).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failure::new(Code::Failed, "the password that was typed is not UTF-8, or too long"),
        kind => nobody(kind),
    })
}

/// Asks yes or no; there is no default.
pub(crate) fn confirm(prompt: &str) -> Result<bool, Failure> {
    let _turn = Turn::wait().ok_or_else(nobody_there)?;
    let _asking = Asking::begin();
    let asked = Confirm::with_theme(&SimpleTheme).with_prompt(plain(prompt));
    match asked.interact_on_opt(&Term::stderr()) {
        Ok(answer) => Ok(answer.unwrap_or(false)),
        Err(dialoguer::Error::IO(error)) => Err(nobody(error.kind())),
    }
}

fn nobody(error: ErrorKind) -> Failure {
    match error {
        ErrorKind::Interrupted => Failure::new(Code::Interrupted, "interrupted"),
        _ => nobody_there(),
    }
}

fn nobody_there() -> Failure {
    Failure::new(Code::NobodyToAsk, "an answer was needed, and nobody can be asked")
}
