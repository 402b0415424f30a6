//! A request held against all that bears on its answer.

use super::Look;
use super::selection::{Selection, Source};
use crate::chooser::Unfit;
use crate::decisions::Answer;
use crate::error::Error;
use crate::matching::{Candidate, Matcher};
use crate::request::{CertificateRequest, Destination};
use crate::turn::Said;

/// A request, held against what the store has.
pub(super) struct Considered<'a> {
    pub(super) look: &'a Look,
    pub(super) request: &'a CertificateRequest,
    /// What answers whatever is asked for.
    pub(super) unconditional: Option<Selection>,
    pub(super) matcher: Matcher<'a>,
    pub(super) candidates: Vec<Candidate>,
}

impl Considered<'_> {
    /// What answers without asking: what holds for every request, a decision that fits, that there is nothing to ask
    /// about, a rule, a setting; in this order.
    pub(super) fn unasked(&self) -> Option<Selection> {
        self.unconditional
            .clone()
            .or_else(|| self.decided())
            .or_else(|| self.candidates.is_empty().then(|| Selection::new(Answer::None, Source::NoCandidate)))
            .or_else(|| self.ruled())
            .or_else(|| self.automatic())
    }

    fn decided(&self) -> Option<Selection> {
        let (answer, _) = self.look.remembered.answer.as_ref()?;
        self.unfit().is_none().then(|| Selection::new(answer.clone(), Source::Decision))
    }

    /// Why the remembered answer does not do; `None` when it does, or nothing is remembered.
    pub(super) fn unfit(&self) -> Option<Unfit> {
        let (Answer::Identity(identity), _) = self.look.remembered.answer.as_ref()? else { return None };
        let reasons = self.matcher.reasons(identity);
        let fits = reasons.is_empty() && self.matcher.is_valid_now(identity.certificate());
        (!fits).then(|| Unfit { identity: (**identity).clone(), reasons })
    }

    /// The first candidate that a rule selects, or the only one where several are to be asked about.
    fn ruled(&self) -> Option<Selection> {
        let mut selected = self.valid().filter_map(|candidate| {
            let ruled = self.matcher.selects(&candidate.identity)?;
            Some((candidate, ruled))
        });
        let (candidate, ruled) = selected.next()?;
        if self.look.remembered.settings.prompt_on_multiple && selected.next().is_some() {
            return None;
        }
        Some(Selection::by(ruled, Answer::Identity(candidate.identity.clone())))
    }

    fn automatic(&self) -> Option<Selection> {
        let settings = &self.look.remembered.settings;
        let first = self.valid().next()?;
        let answer = || Answer::Identity(first.identity.clone());
        if settings.select_automatically {
            return Some(Selection::by("the setting select-automatically", answer()));
        }
        let only = settings.use_single_candidate && self.candidates.len() == 1;
        only.then(|| Selection::by("the setting use-single-candidate", answer()))
    }

    /// What is out of its validity goes nowhere without somebody picking it.
    fn valid(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| self.matcher.is_valid_now(candidate.identity.certificate()))
    }

    /// What was said to another who asked the same, as far as it does here; `Some(None)` when that was to abort.
    pub(super) fn taken_over(&self, said: Said) -> Option<Option<Answer>> {
        match said {
            Said::Abort => Some(None),
            Said::None => Some(Some(Answer::None)),
            Said::Identity(fingerprint) => {
                let candidate = self.candidates.iter().find(|known| known.identity.fingerprint() == fingerprint)?;
                Some(Some(Answer::Identity(candidate.identity.clone())))
            }
        }
    }

    /// The error when nobody can be asked, which says why what is remembered does not do.
    pub(super) fn nobody(&self, destination: &Destination) -> Error {
        let remembered = self.unfit().map(|unfit| unfit.to_string());
        Error::NobodyToAsk { destination: destination.to_string(), remembered }
    }
}
