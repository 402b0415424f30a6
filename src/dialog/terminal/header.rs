//! What a person is told before the list: who asks, and for what.

use super::candidate::NARROW;
use super::line::{DELIMITERS, Line, Look};
use crate::certificate::name::Name;
use crate::select::chooser::Question;
use crate::text::plain;

/// How many authorities of a request are shown by name; the others are counted.
const AUTHORITIES_SHOWN: usize = 3;

/// The columns of the name of an authority.
const AUTHORITY: usize = 60;

/// Who asks, in about two lines of so many columns, then everything else, the most important first.
pub(super) fn header(question: &Question<'_>, columns: usize) -> Vec<Line> {
    let asks = if columns < NARROW { " asks for a certificate." } else { " asks for a client certificate." };
    let asking = Line::default().and(&question.destination.to_string(), Look::Bold);
    let mut lines = vec![asking.shortened(beside(asks, columns)).and(asks, Look::Plain)];
    if let Some(refused) = question.refused.last() {
        let refused = plain(&refused.to_string());
        lines.push(Line::default().and_outside(&refused, DELIMITERS, &[]).and(".", Look::Plain));
    }
    if let Some(unfit) = question.unfit {
        let unfit = plain(&unfit.to_string());
        let line = Line::own("The remembered one no longer fits: ").and_outside(&unfit, DELIMITERS, &[]);
        lines.push(line.and(".", Look::Plain));
    }
    lines.push(asked_for(&question.request.authorities));
    if question.request.is_visible() {
        lines.push(Line::own("Below TLS 1.3, anyone on the network can see which certificate you send."));
    }
    lines
}

/// Whether to remember the answer, in about two lines.
pub(super) fn remember(question: &Question<'_>, columns: usize) -> Line {
    let (before, after) = ("Remember this answer for ", "?");
    let host = Line::own(question.destination.host()).shortened(beside(before, columns));
    Line::own(before).and_line(host).and(after, Look::Plain)
}

/// The columns for the name of a host beside this text in two lines. Where they are broken, a third of one may stay empty.
fn beside(text: &str, columns: usize) -> usize {
    (2 * columns).saturating_sub(text.len() + columns / 3).max(24)
}

/// The authorities that the server named, by name and organisation, shortened.
fn asked_for(authorities: &[Name]) -> Line {
    if authorities.is_empty() {
        return Line::own("It accepts certificates from any issuer.");
    }
    let mut line = Line::own("It accepts certificates issued by: ");
    for (place, name) in authorities.iter().take(AUTHORITIES_SHOWN).enumerate() {
        line = if place > 0 { line.and("; ", Look::Plain) } else { line };
        line = line.and_line(authority(name));
    }
    match authorities.len().saturating_sub(AUTHORITIES_SHOWN) {
        0 => line.and(".", Look::Plain),
        more => line.and(&format!(" and {more} more."), Look::Plain),
    }
}

fn authority(name: &Name) -> Line {
    let common = name.common_name();
    let organisation = name.attribute("O").filter(|organisation| *organisation != common);
    let line = Line::default().and_outside(&plain(&common), &[], &[]);
    let line = match organisation {
        Some(organisation) => {
            line.and(" (", Look::Plain).and_outside(&plain(&organisation), &[], &[]).and(")", Look::Plain)
        }
        None => line,
    };
    line.cut(AUTHORITY)
}
