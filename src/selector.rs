//! The selector: where request, store, decisions and chooser meet. It answers, and says why.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::authority::Authorities;
use crate::chooser::{Chooser, NoChooser, Question, Reply, Unfit};
use crate::clock::{Clock, WallClock};
use crate::decisions::{Answer, Lifetime, Mode, Outcome, Remembered, Scope};
use crate::error::Error;
use crate::history::Use;
use crate::identity::Identity;
use crate::matching::{Candidate, Matcher, is_valid_at};
use crate::request::{CertificateRequest, Destination};
use crate::store::Store;
use crate::vault::{NoUnlocker, SealedKey, Unlocker, Vault};

/// Why an answer is what it is. Displayed as in the JSON of `explain` and `history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// It was remembered.
    Decision,
    /// The chooser said so.
    Ask,
    /// No identity fits, so none is sent.
    NoCandidate,
    /// The caller gave this identity for this once.
    Given,
    /// The caller wants none sent.
    Omitted,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decision => "decision",
            Self::Ask => "ask",
            Self::NoCandidate => "no_candidate",
            Self::Given => "given",
            Self::Omitted => "omitted",
        })
    }
}

/// The outcome of a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What goes out.
    pub answer: Answer,
    /// Why.
    pub source: Source,
}

/// A selection with everything a handshake needs, so that none of it is read while the handshake runs.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) destination: Destination,
    pub(crate) selection: Option<Selection>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) key: Option<(SealedKey, Arc<Vault>)>,
}

impl Prepared {
    /// Where it may go, and nowhere else.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// What was selected; `None` while that waits for the server's request.
    pub fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// Whether a handshake prepared by `other` would send the same, by the same key and the same chain.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let sealed = |prepared: &Self| prepared.key.as_ref().map(|(key, _)| key.clone());
        self.destination == other.destination
            && self.selection == other.selection
            && Arc::ptr_eq(&self.authorities, &other.authorities)
            && sealed(self) == sealed(other)
    }
}

/// What answers a request before anyone is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreseen {
    /// A decision, with what it says.
    Decision(Answer),
    /// None is sent, because none fits.
    NoCandidate,
    /// The chooser is asked.
    Ask,
}

/// Selects identities out of a store. Made by [`Selector::new`] and the `with_...` functions.
pub struct Selector {
    store: Arc<Store>,
    mode: Mode,
    chooser: Arc<dyn Chooser>,
    unlocker: Arc<dyn Unlocker>,
    clock: Arc<dyn Clock>,
}

impl Selector {
    /// A selector in the store's own mode that asks nobody.
    ///
    /// # Errors
    /// Those of reading the store.
    pub fn new(store: Arc<Store>) -> Result<Self, Error> {
        let mode = store.mode()?;
        Ok(Self {
            store,
            mode,
            chooser: Arc::new(NoChooser),
            unlocker: Arc::new(NoUnlocker),
            clock: Arc::new(WallClock),
        })
    }

    /// In this mode, whatever the store says.
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Asking this chooser.
    pub fn with_chooser(self, chooser: Arc<dyn Chooser>) -> Self {
        Self { chooser, ..self }
    }

    /// Asking this unlocker for the primary password.
    pub fn with_unlocker(self, unlocker: Arc<dyn Unlocker>) -> Self {
        Self { unlocker, ..self }
    }

    /// By this clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The store it selects from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How decisions are keyed.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The time, by its clock.
    pub fn now(&self) -> crate::clock::Timestamp {
        self.clock.now()
    }

    /// What is known before the server asks: the remembered answer, unless its identity is out of its validity.
    ///
    /// Reads the store, and asks nobody.
    ///
    /// # Errors
    /// Those of reading.
    pub fn prepare(&self, destination: &Destination) -> Result<Prepared, Error> {
        let Remembered { answer, authorities } = self.store.remembered(&self.mode.scope(destination))?;
        let usable = answer.filter(|(answer, _)| match answer {
            Answer::Identity(identity) => is_valid_at(identity.certificate(), self.clock.now()),
            Answer::None => true,
        });
        let (selection, key) = match usable {
            Some((answer, key)) => (Some(Selection { answer, source: Source::Decision }), key),
            None => (None, None),
        };
        Ok(Prepared {
            destination: destination.clone(),
            selection,
            authorities,
            key: key.map(|key| (key, self.store.vault())),
        })
    }

    /// Answers a server that was verified and asked for a certificate. May ask the chooser, and then blocks for as long
    /// as that takes: not for an asynchronous executor's thread.
    ///
    /// # Errors
    /// [`Error::Aborted`] and [`Error::NobodyToAsk`]: nothing was stored, and nothing may be sent. Those of the store.
    pub fn select(&self, destination: &Destination, request: &CertificateRequest) -> Result<Prepared, Error> {
        if let Some(selection) = self.selected_unasked(destination, request)? {
            return self.prepared(destination, Some(selection));
        }
        if !self.chooser.can_ask() {
            return Err(self.nobody(destination, request)?);
        }
        // Whoever waited here finds the answer the other was given
        let _turn = self.turn_to_ask(destination)?;
        let selection = match self.selected_unasked(destination, request)? {
            Some(selection) => selection,
            None => self.ask(destination, request)?,
        };
        self.prepared(destination, Some(selection))
    }

    /// Decides nothing: the server's request comes back as a wish, whatever is remembered.
    ///
    /// # Errors
    /// Those of reading.
    pub fn undecided(&self, destination: &Destination) -> Result<Prepared, Error> {
        self.prepared(destination, None)
    }

    /// Takes this identity for this once, whatever is remembered.
    ///
    /// # Errors
    /// Those of reading.
    pub fn given(&self, destination: &Destination, identity: Identity) -> Result<Prepared, Error> {
        let answer = Answer::Identity(Arc::new(identity));
        self.prepared(destination, Some(Selection { answer, source: Source::Given }))
    }

    /// Sends no certificate, whatever is remembered.
    ///
    /// # Errors
    /// Those of reading.
    pub fn omitted(&self, destination: &Destination) -> Result<Prepared, Error> {
        self.prepared(destination, Some(Selection { answer: Answer::None, source: Source::Omitted }))
    }

    /// What would answer this request, without asking and without storing anything.
    ///
    /// # Errors
    /// Those of reading.
    pub fn foresee(&self, destination: &Destination, request: &CertificateRequest) -> Result<Foreseen, Error> {
        Ok(match self.selected_unasked(destination, request)? {
            Some(Selection { answer, source: Source::Decision }) => Foreseen::Decision(answer),
            Some(_) => Foreseen::NoCandidate,
            None => Foreseen::Ask,
        })
    }

    /// Unlocks the vault, if it is locked. Blocks while the person types and the key is derived.
    ///
    /// # Errors
    /// Those of [`Store::unlock`].
    pub fn unlock(&self) -> Result<(), Error> {
        self.store.unlock(&*self.unlocker)
    }

    /// The same selection with the key and the authorities as the store has them by now, such as after unlocking. A
    /// remembered answer is looked up anew: it may have been forgotten meanwhile.
    ///
    /// # Errors
    /// Those of reading.
    pub fn renew(&self, prepared: &Prepared) -> Result<Prepared, Error> {
        match &prepared.selection {
            Some(Selection { source: Source::Decision, .. }) => self.prepare(&prepared.destination),
            selection => self.prepared(&prepared.destination, selection.clone()),
        }
    }

    /// Records what became of a selection. In chrome mode a decision that was refused is forgotten, as Chrome does.
    ///
    /// # Errors
    /// Those of writing.
    pub fn record(
        &self,
        destination: &Destination,
        selection: &Selection,
        outcome: Outcome,
        alert: Option<String>,
        tls_version: Option<String>,
    ) -> Result<(), Error> {
        let used = Use {
            at: self.clock.now(),
            host: destination.host().to_owned(),
            port: destination.port(),
            identity: selection.answer.fingerprint(),
            source: selection.source.to_string(),
            outcome,
            alert,
            tls_version,
        };
        let scope = self.mode.scope(destination);
        self.store.record(&used, &scope)?;
        let remembered = matches!(selection.source, Source::Decision | Source::Ask);
        if self.mode == Mode::Chrome && outcome == Outcome::Refused && remembered {
            self.store.forget(&scope)?;
        }
        Ok(())
    }

    fn prepared(&self, destination: &Destination, selection: Option<Selection>) -> Result<Prepared, Error> {
        let key = match selection.as_ref().and_then(|selection| selection.answer.fingerprint()) {
            None => None,
            Some(fingerprint) => {
                let sealed = self.store.sealed_key(fingerprint)?;
                let sealed = sealed.ok_or_else(|| Error::UnknownIdentity { id: fingerprint.to_string() })?;
                Some((sealed, self.store.vault()))
            }
        };
        Ok(Prepared { destination: destination.clone(), selection, authorities: self.store.authorities()?, key })
    }

    fn remembered(&self, scope: &Scope) -> Result<Option<Answer>, Error> {
        Ok(self.store.remembered(scope)?.answer.map(|(answer, _)| answer))
    }

    /// What answers without asking: a decision that still fits, or that there is nothing to ask about.
    fn selected_unasked(
        &self,
        destination: &Destination,
        request: &CertificateRequest,
    ) -> Result<Option<Selection>, Error> {
        let authorities = self.store.authorities()?;
        let matcher = Matcher::new(request, &authorities, self.clock.now());
        if let Some(answer) = self.remembered(&self.mode.scope(destination))?
            && unfit(&matcher, &answer).is_none()
        {
            return Ok(Some(Selection { answer, source: Source::Decision }));
        }
        let none_fits = self.candidates(&matcher, destination)?.is_empty();
        Ok(none_fits.then_some(Selection { answer: Answer::None, source: Source::NoCandidate }))
    }

    fn candidates(&self, matcher: &Matcher<'_>, destination: &Destination) -> Result<Vec<Candidate>, Error> {
        let identities = match matcher.requested() {
            Some(requested) => self.store.identities_under(requested)?,
            None => self.store.identities()?.into_iter().map(Arc::new).collect(),
        };
        Ok(matcher.candidates(identities, &self.store.used_before(destination)?))
    }

    fn ask(&self, destination: &Destination, request: &CertificateRequest) -> Result<Selection, Error> {
        let authorities = self.store.authorities()?;
        let now = self.clock.now();
        let matcher = Matcher::new(request, &authorities, now);
        let scope = self.mode.scope(destination);
        let candidates = self.candidates(&matcher, destination)?;
        let unfit = self.remembered(&scope)?.and_then(|answer| unfit(&matcher, &answer));
        let reply = self.chooser.choose(&Question {
            destination,
            request,
            candidates: &candidates,
            authorities: &authorities,
            mode: self.mode,
            unfit: unfit.as_ref(),
            now,
        });
        let aborted = || Error::Aborted { destination: destination.to_string() };
        let (answer, lifetime) = match reply {
            Reply::Identity { index, lifetime } => {
                let chosen = candidates.get(index).ok_or_else(aborted)?;
                (Answer::Identity(chosen.identity.clone()), lifetime)
            }
            Reply::None { lifetime } => (Answer::None, lifetime),
            Reply::Abort => return Err(aborted()),
            Reply::Nobody => return Err(self.nobody(destination, request)?),
        };
        let lifetime = if self.mode == Mode::Chrome { Lifetime::Permanent } else { lifetime };
        self.store.remember(&scope, answer.fingerprint(), lifetime, self.clock.now())?;
        Ok(Selection { answer, source: Source::Ask })
    }

    /// The error when nobody can be asked, which says why what is remembered does not do.
    fn nobody(&self, destination: &Destination, request: &CertificateRequest) -> Result<Error, Error> {
        let authorities = self.store.authorities()?;
        let matcher = Matcher::new(request, &authorities, self.clock.now());
        let remembered = self.remembered(&self.mode.scope(destination))?;
        let unfit = remembered.and_then(|answer| unfit(&matcher, &answer));
        Ok(Error::NobodyToAsk {
            destination: destination.to_string(),
            remembered: unfit.map(|unfit| unfit.to_string()),
        })
    }

    /// Holds back everyone else who would ask about the same scope, in this process and in others, until it is dropped.
    /// The system takes it back from a process that dies.
    fn turn_to_ask(&self, destination: &Destination) -> Result<File, Error> {
        let mut question = Sha256::new();
        question.update(self.store.path().as_os_str().as_encoded_bytes());
        question.update(self.mode.scope(destination).to_string());
        let [first, ..] = <[u8; 32]>::from(question.finalize());
        let file = self.store.session().lock_file(first)?;
        if file.try_lock().is_err() {
            self.chooser.waiting(destination);
            file.lock().map_err(|source| Error::Io { path: self.store.path().to_owned(), source })?;
        }
        Ok(file)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector").field("store", &self.store).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Why a remembered answer does not do; `None` when it does.
fn unfit(matcher: &Matcher<'_>, answer: &Answer) -> Option<Unfit> {
    let Answer::Identity(identity) = answer else {
        return None;
    };
    let reasons = matcher.reasons(identity.certificate());
    let fits = reasons.is_empty() && matcher.is_valid_now(identity.certificate());
    (!fits).then(|| Unfit { identity: (**identity).clone(), reasons })
}
