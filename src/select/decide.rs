//! Whether a request can be answered without asking, and by what. Pure: everything it needs comes as arguments.

use std::sync::Arc;

use crate::answer::decision::Answer;
use crate::answer::rules::Rule;
use crate::certificate::identity::Identity;
use crate::certificate::outline::Outline;
use crate::error::Error;
use crate::request::CertificateRequest;
use crate::select::chooser::Refused;
use crate::select::look::Look;
use crate::select::matching::{Considered, Fit, Matcher};
use crate::select::selection::{Selection, Source};

/// How a request would be answered, and why: what [`Selector::explain`](crate::Selector::explain) returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// What would be sent; `None` when the chooser would be asked.
    pub selection: Option<Selection>,
    /// The remembered identity that no longer fits, when the chooser would be asked because of that.
    pub unfit: Option<Considered>,
    /// A rule, in words for a person, when the chooser would be asked because rules select several identities.
    pub ambiguous_rule: Option<String>,
    /// Every identity of the store, by name, compared with the request.
    pub identities: Vec<Considered>,
}

/// Whether a request can be answered without asking.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This is sent.
    Selected(Selection),
    /// Only the chooser can answer.
    Ask(Open),
}

/// What the chooser is asked.
#[derive(Debug)]
pub(super) struct Open {
    /// The identities that fit, best first.
    pub(super) candidates: Fit,
    /// The remembered identity that no longer fits.
    pub(super) unfit: Option<Considered>,
    /// One of the rules that select several identities, in words for a person.
    pub(super) ambiguous_rule: Option<String>,
}

/// Decides in this order: what holds for every request, a remembered decision that fits, that no identity fits, a rule, a
/// setting. An answer that was refused before counts no more, unless nothing else may be sent.
///
/// `candidates` is called when no decision answers: there may be thousands of identities. `read` reads the one that is selected.
///
/// # Errors
/// [`Error::RowDamaged`] when no identity fits but one that cannot be read might, and those of `candidates` and `read`.
pub(super) fn decide(
    look: &Look<'_>,
    request: &CertificateRequest,
    refused: &[Refused],
    candidates: impl Fn(&Matcher<'_>) -> Result<Fit, Error>,
    read: impl Fn(&Outline) -> Result<Arc<Identity>, Error>,
) -> Result<Verdict, Error> {
    let matcher = look.matcher(request);
    let unfit = unfit(look, &matcher);
    let decided = unconditional(look).or_else(|| look.remembered.filter(|_| unfit.is_none()).map(Selection::decided));
    if let Some(selection) = decided {
        return Ok(if is_new(&selection, refused) {
            Verdict::Selected(selection)
        } else {
            Verdict::Ask(Open { candidates: candidates(&matcher)?, unfit, ambiguous_rule: None })
        });
    }
    let fit = candidates(&matcher)?;
    let selected = match fit.damaged() {
        Some(damage) if fit.is_empty() => return Err(Error::RowDamaged(damage.clone())),
        None if fit.is_empty() => Some(Selection::new(Answer::None, Source::NoCandidate)),
        _ => match by_rule(look, &matcher, &fit).or_else(|| by_setting(look, &fit)) {
            Some((outline, why)) => Some(Selection::by(why, Answer::Identity(read(outline)?))),
            None => None,
        },
    };
    if let Some(selection) = selected.as_ref().filter(|selection| is_new(selection, refused)) {
        return Ok(Verdict::Selected(selection.clone()));
    }
    let ambiguous_rule = match &unfit {
        None if selected.is_none() => selected_by_rules(look, &matcher, &fit).next().map(|(_, rule)| rule.to_string()),
        _ => None,
    };
    Ok(Verdict::Ask(Open { candidates: fit, unfit, ambiguous_rule }))
}

/// What answers every request, whatever is remembered: the target carries no credentials, or a rule denies every identity.
pub(super) fn unconditional(look: &Look<'_>) -> Option<Selection> {
    if !look.target.carries_credentials() {
        return Some(Selection::new(Answer::None, Source::Omitted));
    }
    look.in_force.denies_all().map(|ruled| Selection::by(ruled, Answer::None))
}

/// The remembered identity, if it no longer fits.
fn unfit(look: &Look<'_>, matcher: &Matcher<'_>) -> Option<Considered> {
    let Answer::Identity(identity) = look.remembered? else { return None };
    let fits = identity.certificate().is_valid_at(look.now) && matcher.reasons(identity).is_empty();
    (!fits).then(|| matcher.consider(identity.clone()))
}

/// Whether a selection was not refused before. That no certificate is sent because of a rule, or because none fits, is no
/// choice that a person could change.
fn is_new(selection: &Selection, refused: &[Refused]) -> bool {
    let sent = selection.answer.fingerprint();
    let is_choice = sent.is_some() || selection.source == Source::Decision;
    !is_choice || refused.iter().all(|refused| refused.answer.fingerprint() != sent)
}

/// The first candidate that a rule selects, and the rule. With the setting `prompt_on_multiple` it has to be the only one.
fn by_rule<'c>(look: &Look<'_>, matcher: &Matcher<'_>, fit: &'c Fit) -> Option<(&'c Outline, String)> {
    let mut selected = selected_by_rules(look, matcher, fit);
    let (candidate, rule) = selected.next()?;
    // A row that cannot be read may be another one
    let is_ambiguous = look.settings.prompt_on_multiple && (selected.next().is_some() || fit.damaged().is_some());
    (!is_ambiguous).then(|| (candidate, rule.to_string()))
}

/// The candidates that rules select, each with the rule.
fn selected_by_rules<'c, 'm>(
    look: &Look<'_>,
    matcher: &'m Matcher<'_>,
    fit: &'c Fit,
) -> impl Iterator<Item = (&'c Outline, &'m Rule)> + use<'c, 'm> {
    valid(look, fit).filter_map(|candidate| Some((candidate, matcher.selects(candidate)?)))
}

fn by_setting<'c>(look: &Look<'_>, fit: &'c Fit) -> Option<(&'c Outline, String)> {
    let candidate = valid(look, fit).next()?;
    if look.settings.select_automatically {
        return Some((candidate, "the setting select-automatically".to_owned()));
    }
    let is_only = look.settings.use_single_candidate && fit.len() == 1 && fit.damaged().is_none();
    is_only.then(|| (candidate, "the setting use-single-candidate".to_owned()))
}

/// Certificates that have expired or are not yet valid are sent only if a person picks them.
fn valid<'c>(look: &Look<'_>, fit: &'c Fit) -> impl Iterator<Item = &'c Outline> + use<'c> {
    let now = look.now;
    fit.iter().filter(move |candidate| candidate.is_valid_at(now))
}

#[cfg(test)]
mod tests;
