//! A request held against all that bears on its answer.

use std::cell::OnceCell;

use super::selection::{Explanation, Selection, Source};
use super::{Candidates, Look, Selector};
use crate::answer::decision::Answer;
use crate::answer::rules::Rule;
use crate::error::Error;
use crate::request::{CertificateRequest, Destination};
use crate::select::asking::Said;
use crate::select::matching::{Considered, Matcher};

/// A request, held against what the store has.
pub(super) struct Compared<'a> {
    pub(super) look: &'a Look,
    pub(super) request: &'a CertificateRequest,
    /// What answers whatever is asked for.
    pub(super) unconditional: Option<Selection>,
    pub(super) matcher: Matcher<'a>,
    pub(super) selector: &'a Selector,
    pub(super) destination: &'a Destination,
    /// A decision that fits answers without them, and there may be thousands.
    pub(super) candidates: OnceCell<Candidates>,
}

impl Compared<'_> {
    /// What answers without asking: what holds for every request, a decision that fits, that there is nothing to ask
    /// about, a rule, a setting; in this order.
    pub(super) fn unasked(&self) -> Result<Option<Selection>, Error> {
        if let Some(settled) = self.unconditional.clone().or_else(|| self.decided()) {
            return Ok(Some(settled));
        }
        let candidates = self.candidates()?;
        match &candidates.damaged {
            _ if !candidates.fit.is_empty() => Ok(self.ruled(candidates).or_else(|| self.automatic(candidates))),
            None => Ok(Some(Selection::new(Answer::None, Source::NoCandidate))),
            // It may be the only one
            Some(damage) => Err(Error::RowDamaged(damage.clone())),
        }
    }

    pub(super) fn explained(&self, identities: Vec<Considered>) -> Result<Explanation, Error> {
        let selection = self.unasked()?;
        let is_asked = selection.is_none();
        let unfit = self.unfit().filter(|_| is_asked);
        let rule = match &unfit {
            None if is_asked => self.selected(&self.candidates()?.fit).next().map(|(_, ruled)| ruled.to_string()),
            _ => None,
        };
        Ok(Explanation { selection, unfit, ambiguous_rule: rule, identities })
    }

    /// The identities that fit, best first. Not by what was used before: the history has no code, and must not say what goes out
    /// where nobody is asked.
    pub(super) fn candidates(&self) -> Result<&Candidates, Error> {
        if let Some(known) = self.candidates.get() {
            return Ok(known);
        }
        let found = self.selector.candidates(&self.matcher, None)?;
        Ok(self.candidates.get_or_init(|| found))
    }

    fn decided(&self) -> Option<Selection> {
        let (answer, _) = self.look.remembered.answer.as_ref()?;
        self.unfit().is_none().then(|| Selection::new(answer.clone(), Source::Decision))
    }

    /// The remembered identity, if it no longer fits.
    pub(super) fn unfit(&self) -> Option<Considered> {
        let (Answer::Identity(identity), _) = self.look.remembered.answer.as_ref()? else { return None };
        let fits = self.matcher.reasons(identity).is_empty() && self.matcher.is_valid_now(identity.certificate());
        (!fits).then(|| self.matcher.consider(identity.clone()))
    }

    /// The candidates that rules select, each with the rule.
    fn selected<'c>(&self, candidates: &'c [Considered]) -> impl Iterator<Item = (&'c Considered, &Rule)> {
        self.valid(candidates).filter_map(|candidate| Some((candidate, self.matcher.selects(&candidate.identity)?)))
    }

    /// The first candidate that a rule selects, or the only one where several are to be asked about. One that cannot be read
    /// counts as another.
    fn ruled(&self, candidates: &Candidates) -> Option<Selection> {
        let mut selected = self.selected(&candidates.fit);
        let (candidate, ruled) = selected.next()?;
        let several = selected.next().is_some() || candidates.damaged.is_some();
        if self.look.remembered.settings.prompt_on_multiple && several {
            return None;
        }
        Some(Selection::by(ruled, Answer::Identity(candidate.identity.clone())))
    }

    fn automatic(&self, candidates: &Candidates) -> Option<Selection> {
        let settings = &self.look.remembered.settings;
        let first = self.valid(&candidates.fit).next()?;
        let answer = || Answer::Identity(first.identity.clone());
        if settings.select_automatically {
            return Some(Selection::by("the setting select-automatically", answer()));
        }
        let only = settings.use_single_candidate && candidates.fit.len() == 1 && candidates.damaged.is_none();
        only.then(|| Selection::by("the setting use-single-candidate", answer()))
    }

    /// What is out of its validity goes nowhere without somebody picking it.
    fn valid<'c>(&self, candidates: &'c [Considered]) -> impl Iterator<Item = &'c Considered> {
        candidates.iter().filter(|candidate| self.matcher.is_valid_now(candidate.identity.certificate()))
    }

    /// What was said to another who asked the same, as far as it does here; `Some(None)` when that was to abort.
    pub(super) fn taken_over(&self, said: Said) -> Result<Option<Option<Answer>>, Error> {
        Ok(match said {
            Said::Abort => Some(None),
            Said::None => Some(Some(Answer::None)),
            Said::Identity(fingerprint) => {
                let candidate = self.candidates()?.fit.iter().find(|known| known.identity.fingerprint() == fingerprint);
                candidate.map(|candidate| Some(Answer::Identity(candidate.identity.clone())))
            }
        })
    }

    /// The error when nobody can be asked, which says why what is remembered does not do.
    pub(super) fn nobody(&self) -> Error {
        let remembered = self.unfit().map(|unfit| unfit.to_string());
        Error::NobodyToAsk { destination: self.destination.to_string(), remembered }
    }
}
