//! Asks which identity to send.

use console::{style, truncate_str};

use super::lock::is_taken;
use super::menu::{Picked, menu};
use super::settings::is_there;
use super::tty::Tty;
use super::turn::Turn;
use crate::answer::decision::Lifetime;
use crate::answer::settings::Mode;
use crate::certificate::Certificate;
use crate::certificate::name::Name;
use crate::request::Destination;
use crate::select::chooser::{Question, Reply};
use crate::select::matching::{Considered, Warning};
use crate::text::plain;

/// How many authorities of a request are shown by name; the others are counted.
const AUTHORITIES_SHOWN: usize = 3;

/// Asks which identity to send.
pub(in crate::dialog) fn choose(question: &Question<'_>) -> Reply {
    let Some(turn) = Turn::begin() else { return Reply::Nobody };
    let fingerprints: Vec<_> = question.candidates.fingerprints().collect();
    let candidates: Vec<Considered> = question.candidates.read(&fingerprints).into_iter().flatten().collect();
    loop {
        let mut rows: Vec<String> = candidates.iter().map(|candidate| row(candidate, question)).collect();
        rows.push("Send no certificate".to_owned());
        let details = |index: usize| match candidates.get(index) {
            Some(candidate) => details(candidate, question),
            None => vec!["The server is told that you have no certificate.".to_owned()],
        };
        let index = match menu(&turn, &header(question), &rows, &details) {
            Picked::Row(index) => index,
            Picked::Nothing(reply) => return reply,
        };
        let Some(lifetime) = (match lifetime(&turn, question, rows.get(index)) {
            Ok(lifetime) => lifetime,
            Err(reply) => return reply,
        }) else {
            continue;
        };
        return match candidates.get(index) {
            Some(candidate) => Reply::Identity { identity: candidate.identity.clone(), lifetime },
            None => Reply::None { lifetime },
        };
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
fn lifetime(turn: &Turn, question: &Question<'_>, picked: Option<&String>) -> Result<Option<Lifetime>, Reply> {
    if question.mode == Mode::Chrome {
        return Ok(Some(Lifetime::Permanent));
    }
    let header = vec![
        picked.cloned().unwrap_or_default(),
        format!("Remember this answer for {}?", plain(question.destination.host())),
    ];
    let rows = ["Just this once", "Until I log out", "Permanently", "Back"].map(str::to_owned);
    let lifetimes = [Some(Lifetime::Once), Some(Lifetime::Session), Some(Lifetime::Permanent)];
    match menu(turn, &header, &rows, &|_| Vec::new()) {
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
        lines.push("Below TLS 1.3, anyone on the network can see which certificate you send.".to_owned());
    }
    if let Some(unfit) = question.unfit {
        lines.push(format!("The remembered one no longer fits: {}.", plain(&unfit.to_string())));
    }
    lines
}

/// The authorities that the server named, by name and organisation, shortened.
fn asked_for(authorities: &[Name]) -> String {
    if authorities.is_empty() {
        return "It accepts certificates from any issuer.".to_owned();
    }
    let shown: Vec<String> = authorities.iter().take(AUTHORITIES_SHOWN).map(authority).collect();
    let more = match authorities.len().saturating_sub(AUTHORITIES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("It accepts certificates issued by: {}{more}.", shown.join("; "))
}

fn authority(name: &Name) -> String {
    let common = name.common_name();
    let organisation = name.attribute("O").filter(|organisation| *organisation != common);
    let full = organisation.map_or_else(|| common.clone(), |organisation| format!("{common} ({organisation})"));
    truncate_str(&plain(&full), 60, "…").into_owned()
}

/// One row of the list: name, issuer, validity, and warnings.
fn row(candidate: &Considered, question: &Question<'_>) -> String {
    let certificate = candidate.identity.certificate();
    let expiry = certificate.not_after().days_from(question.now);
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

/// Everything that distinguishes a candidate from the others.
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
            certificate.not_after().days_from(question.now),
            certificate.key(),
        ),
    ];
    let warnings: Vec<&str> = candidate.warnings.iter().map(|warning| warning.text()).collect();
    if !warnings.is_empty() {
        lines.push(format!("Note     {}", warnings.join("; ")));
    }
    lines
}

/// Key usages of a certificate, then its extended key usages.
fn usages(certificate: &Certificate) -> String {
    let listed = |usages: Option<Vec<&str>>| usages.map_or("any".to_owned(), |usages| usages.join(", "));
    let extended = certificate.extended_key_usage().map(|usages| usages.iter().map(String::as_str).collect());
    format!("{}; extended: {}", listed(certificate.key_usage()), listed(extended))
}
