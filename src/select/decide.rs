//! Whether a request can be answered without asking, and by what. Pure: everything it needs comes as arguments.

use crate::answer::decision::Answer;
use crate::answer::rules::Rule;
use crate::error::{Damage, Error};
use crate::request::CertificateRequest;
use crate::select::chooser::Refused;
use crate::select::look::Look;
use crate::select::matching::{Considered, Matcher};
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

/// The identities that fit a request, best first.
pub(super) struct Candidates {
    pub(super) fit: Vec<Considered>,
    /// A row that cannot be read, of an identity that might be one of them.
    pub(super) damaged: Option<Damage>,
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
    pub(super) candidates: Vec<Considered>,
    /// The remembered identity that no longer fits.
    pub(super) unfit: Option<Considered>,
    /// One of the rules that select several identities, in words for a person.
    pub(super) ambiguous_rule: Option<String>,
}

/// Decides in this order: what holds for every request, a remembered decision that fits, that no identity fits, a rule, a
/// setting. An answer that was refused before counts no more, unless nothing else may be sent.
///
/// `candidates` is called when no decision answers: there may be thousands of identities.
///
/// # Errors
/// [`Error::RowDamaged`] when no identity fits but one that cannot be read might, and those of `candidates`.
pub(super) fn decide(
    look: &Look<'_>,
    request: &CertificateRequest,
    refused: &[Refused],
    candidates: impl Fn(&Matcher<'_>) -> Result<Candidates, Error>,
) -> Result<Verdict, Error> {
    let matcher = look.matcher(request);
    let unfit = unfit(look, &matcher);
    let decided = unconditional(look).or_else(|| look.remembered.filter(|_| unfit.is_none()).map(Selection::decided));
    if let Some(selection) = decided {
        return Ok(if is_new(&selection, refused) {
            Verdict::Selected(selection)
        } else {
            Verdict::Ask(Open { candidates: candidates(&matcher)?.fit, unfit, ambiguous_rule: None })
        });
    }
    let Candidates { fit, damaged } = candidates(&matcher)?;
    let selected = match damaged {
        Some(damage) if fit.is_empty() => return Err(Error::RowDamaged(damage)),
        None if fit.is_empty() => Some(Selection::new(Answer::None, Source::NoCandidate)),
        // A row that cannot be read may be another candidate
        _ => by_rule(look, &matcher, &fit, damaged.is_some()).or_else(|| by_setting(look, &fit, damaged.is_some())),
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

/// The first candidate that a rule selects. With the setting `prompt_on_multiple` it has to be the only one.
fn by_rule(look: &Look<'_>, matcher: &Matcher<'_>, fit: &[Considered], may_be_more: bool) -> Option<Selection> {
    let mut selected = selected_by_rules(look, matcher, fit);
    let (candidate, rule) = selected.next()?;
    let is_ambiguous = look.settings.prompt_on_multiple && (selected.next().is_some() || may_be_more);
    (!is_ambiguous).then(|| Selection::by(rule, Answer::Identity(candidate.identity.clone())))
}

/// The candidates that rules select, each with the rule.
fn selected_by_rules<'c>(
    look: &Look<'_>,
    matcher: &'c Matcher<'_>,
    fit: &'c [Considered],
) -> impl Iterator<Item = (&'c Considered, &'c Rule)> {
    valid(look, fit).filter_map(|candidate| Some((candidate, matcher.selects(&candidate.identity)?)))
}

fn by_setting(look: &Look<'_>, fit: &[Considered], may_be_more: bool) -> Option<Selection> {
    let answer = Answer::Identity(valid(look, fit).next()?.identity.clone());
    if look.settings.select_automatically {
        return Some(Selection::by("the setting select-automatically", answer));
    }
    let is_only = look.settings.use_single_candidate && fit.len() == 1 && !may_be_more;
    is_only.then(|| Selection::by("the setting use-single-candidate", answer))
}

/// Certificates that have expired or are not yet valid are sent only if a person picks them.
fn valid<'c>(look: &Look<'_>, fit: &'c [Considered]) -> impl Iterator<Item = &'c Considered> + use<'c> {
    let now = look.now;
    fit.iter().filter(move |candidate| candidate.identity.certificate().is_valid_at(now))
}

#[cfg(test)]
mod tests;
