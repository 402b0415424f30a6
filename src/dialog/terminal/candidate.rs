//! What is shown of an identity, and what is searched: a row of the list, and the details below it.

use super::line::{DELIMITERS, Line, Look};
use super::search::{Finder, Kind, Query, Score};
use crate::certificate::Certificate;
use crate::select::chooser::Question;
use crate::select::matching::{Considered, Warning};
use crate::text::plain;

/// A window that is narrower shows no issuers in its rows, and fewer words.
pub(super) const NARROW: usize = 60;

/// The columns of a label in the details.
const LABEL: usize = 9;

/// What is odd about an identity that the server has just refused.
const REFUSED: &str = "refused just now";

/// How many characters are shown before the first one that matches.
const CONTEXT: u32 = 12;

/// One of the details.
struct Field {
    label: &'static str,
    value: String,
    kind: Kind,
    delimiters: &'static [char],
    /// False where the value only says that there is none.
    is_searched: bool,
}

impl Field {
    fn new(label: &'static str, kind: Kind, value: &str) -> Self {
        Self { label, kind, value: plain(value), delimiters: &[], is_searched: true }
    }

    /// With names among other text.
    fn with_names(self) -> Self {
        Self { delimiters: DELIMITERS, ..self }
    }

    fn line(&self, query: &Query, finder: &mut Finder) -> Line {
        let marks = if self.is_searched { finder.marks(query, self.kind, &self.value) } else { Vec::new() };
        Line::default().and_outside(&self.value, self.delimiters, &marks)
    }
}

/// The texts of an identity in which words are searched: its name and everything in its details.
pub(super) struct Searched {
    /// Lines.
    fuzzy: Box<str>,
    /// Lines.
    exact: Box<str>,
}

impl Searched {
    pub(super) fn new(considered: &Considered, question: &Question<'_>) -> Self {
        let fields = fields(considered, question);
        let lines = |kind: Kind| {
            let values =
                fields.iter().filter(|field| field.kind == kind && field.is_searched).map(|field| field.value.as_str());
            values.collect::<Vec<_>>().join("\n").into_boxed_str()
        };
        let name = plain(considered.identity.name());
        Self { fuzzy: format!("{name}\n{}", lines(Kind::Fuzzy)).into_boxed_str(), exact: lines(Kind::Exact) }
    }

    pub(super) fn score(&self, query: &Query, finder: &mut Finder) -> Option<Score> {
        let fuzzy = self.fuzzy.lines().map(|text| (Kind::Fuzzy, text));
        let fields: Vec<_> = fuzzy.chain(self.exact.lines().map(|text| (Kind::Exact, text))).collect();
        finder.score(query, &fields)
    }
}

/// One row of the list: name, issuer, what is odd about it, validity, and where a word was found. What is odd is cut last.
pub(super) fn row(
    considered: &Considered,
    question: &Question<'_>,
    query: &Query,
    finder: &mut Finder,
    columns: usize,
) -> Line {
    let is_narrow = columns < NARROW;
    let mut tail: Vec<Line> = Vec::new();
    if considered.is_candidate() {
        let validity = validity(considered, question);
        if was_refused(considered, question) {
            tail.push(Line::own(REFUSED));
        }
        if !is_narrow || validity.1 {
            tail.push(Line::own(&validity.0));
        }
        tail.extend(oddities(considered).iter().map(|odd| Line::own(odd)));
    } else {
        tail.extend(considered.reasons.iter().map(|reason| Line::own(reason.text())));
    }
    let (name, issuer) = (plain(considered.identity.name()), issuer(considered));
    let mut heads: Vec<&str> = vec![&name];
    if !is_narrow {
        heads.push(&issuer);
    }
    // What is found elsewhere is shown too
    for word in query.words() {
        if !heads.iter().any(|head| finder.finds(word, Kind::Fuzzy, head))
            && let Some(field) = fields(considered, question)
                .iter()
                .find(|field| field.is_searched && finder.finds(word, field.kind, &field.value))
        {
            let line = field.line(query, finder);
            let first =
                finder.marks(query, field.kind, &field.value).first().map_or(0, |first| first.saturating_sub(CONTEXT));
            let from = if field.value.chars().count() > 30 { first as usize } else { 0 };
            tail.push(Line::own(&format!("{} ", field.label)).and_line(line.from(from)).cut(columns / 3));
        }
    }
    let mut tail = tail.into_iter().fold(Line::default(), |tail, part| tail.and(" · ", Look::Plain).and_line(part));
    tail = tail.cut(columns * 2 / 3);
    let head = |text: &str, finder: &mut Finder| {
        Line::default().and_outside(text, &[], &finder.marks(query, Kind::Fuzzy, text))
    };
    let (name, issuer) = (head(&name, finder), head(&issuer, finder));
    let room = columns.saturating_sub(tail.width());
    if is_narrow {
        return name.cut(room).and_line(tail);
    }
    let room = room.saturating_sub(3);
    let for_name = name.width().min(room.saturating_sub(issuer.width()).max(room * 3 / 5));
    let for_issuer = room - for_name;
    name.cut(for_name).and(" · ", Look::Plain).and_line(issuer.cut(for_issuer)).and_line(tail)
}

/// The row of an identity that is no longer in the store.
pub(super) fn gone() -> Line {
    Line::default().and("(no longer in the store)", Look::Dim)
}

/// The row of an identity that was imported after the question was asked, and fits.
pub(super) fn late() -> Line {
    Line::default().and("(imported meanwhile: cancel, and try again)", Look::Dim)
}

/// Everything that distinguishes an identity from the others, one line each, to be wrapped with [`INDENT`].
pub(super) fn details(
    considered: &Considered,
    question: &Question<'_>,
    query: &Query,
    finder: &mut Finder,
) -> Vec<Line> {
    let fields = fields(considered, question);
    fields
        .iter()
        .map(|field| Line::own(&format!("{:LABEL$}", field.label)).and_line(field.line(query, finder)))
        .collect()
}

/// How far the details are indented below their labels.
pub(super) const INDENT: usize = LABEL;

/// How many lines the details take if none is wrapped.
pub(super) const DETAILS: usize = 8;

fn issuer(considered: &Considered) -> String {
    plain(&considered.identity.certificate().issuer().common_name())
}

/// What the details show. What a person should know first comes first: a low window shows only that.
fn fields(considered: &Considered, question: &Question<'_>) -> Vec<Field> {
    let certificate = considered.identity.certificate();
    let emails = match certificate.emails() {
        [] => Field { is_searched: false, ..Field::new("E-mail", Kind::Fuzzy, "none") },
        emails => Field::new("E-mail", Kind::Fuzzy, &emails.join(", ")).with_names(),
    };
    let (fuzzy, exact) = (Kind::Fuzzy, Kind::Exact);
    let mut notes = considered.notes();
    if was_refused(considered, question) {
        notes.insert(0, REFUSED.to_owned());
    }
    let label = if considered.is_candidate() { "Note" } else { "Why not" };
    let notes = (!notes.is_empty()).then(|| Field::new(label, exact, &notes.join("; ")).with_names());
    let others = [
        Field::new("Subject", fuzzy, &certificate.subject().to_string()).with_names(),
        emails,
        Field::new("Issuer", fuzzy, &certificate.issuer().to_string()).with_names(),
        Field::new("Valid", exact, &valid(certificate, question)),
        Field::new("Usage", exact, &usages(certificate)),
        Field::new("Serial", exact, &format!("{}  Key {}", certificate.serial(), certificate.key())),
        Field::new("SHA-256", exact, &certificate.fingerprint().to_string()),
    ];
    notes.into_iter().chain(others).collect()
}

fn valid(certificate: &Certificate, question: &Question<'_>) -> String {
    let (from, to) = (certificate.not_before(), certificate.not_after());
    format!("{} to {} ({})", from.date(), to.date(), to.days_from(question.now))
}

/// In words, and whether a person should notice.
fn validity(considered: &Considered, question: &Question<'_>) -> (String, bool) {
    let certificate = considered.identity.certificate();
    if considered.warnings.contains(&Warning::Expired) {
        (format!("EXPIRED {}", certificate.not_after().days_from(question.now)), true)
    } else if considered.warnings.contains(&Warning::NotYetValid) {
        let begins = certificate.not_before().days_from(question.now);
        let begins = begins.strip_prefix("in ").map_or(format!("later {begins}"), |days| format!("{days} from now"));
        (format!("not valid until {begins}"), true)
    } else {
        (format!("expires {}", certificate.not_after().days_from(question.now)), false)
    }
}

/// What else is odd about a candidate. What is so for all of them stands above the list.
fn oddities(considered: &Considered) -> Vec<&'static str> {
    let is_said =
        |warning: &&Warning| matches!(warning, Warning::VisibleBelowTls13 | Warning::Expired | Warning::NotYetValid);
    considered.warnings.iter().filter(|warning| !is_said(warning)).map(|warning| warning.text()).collect()
}

fn was_refused(considered: &Considered, question: &Question<'_>) -> bool {
    let fingerprint = Some(considered.identity.fingerprint());
    question.refused.iter().any(|refused| refused.answer.fingerprint() == fingerprint)
}

/// Key usages of a certificate, then its extended key usages.
fn usages(certificate: &Certificate) -> String {
    let listed = |usages: Option<Vec<&str>>| usages.map_or("any".to_owned(), |usages| usages.join(", "));
    let extended = certificate.extended_key_usage().map(|usages| usages.iter().map(String::as_str).collect());
    format!("{}; extended: {}", listed(certificate.key_usage()), listed(extended))
}
