//! The selector: decides what answers a server's certificate request, and asks where nothing decides.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::manage::{Lifetime, Mode};
//! use cardcase::Destination;
//! use cardcase::ask::CertificateRequest;
//! use cardcase::Selector;
//! use cardcase::connect::Source;
//! use cardcase::Error;
//! use cardcase::manage::Timestamp;
//!
//! let intranet: Destination = "intranet.example.com".parse()?;
//! let request = CertificateRequest::new(&[], &[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
//! let selector = Selector::new(store);
//! assert!(matches!(selector.select(&intranet, &request), Err(Error::NobodyToAsk { .. })));
//!
//! let (store, scope) = (selector.store(), Mode::Firefox.scope(&intranet));
//! let alice = store.find_identity("Alice Example's card")?;
//! store.remember(&scope, Some(alice.fingerprint()), Lifetime::Permanent, Timestamp::now())?;
//! let prepared = selector.select(&intranet, &request)?;
//! assert_eq!(prepared.selection().map(|selection| selection.source), Some(Source::Decision));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "hyper")]
use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::answer::decision::{Answer, Lifetime, Outcome};
use crate::answer::history::Use;
use crate::answer::policy::directory::PolicyFiles;
use crate::answer::settings::Mode;
use crate::certificate::identity::Identity;
use crate::certificate::outline::Outline;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::ask_lock::{AskLock, QuestionId, Said};
use crate::select::candidates::Candidates;
use crate::select::chooser::{Chooser, NoChooser, Question, Refused, Reply};
use crate::select::decide::{Explanation, Open, Verdict, decide, unconditional};
use crate::select::look::{Look, Moment};
use crate::select::matching::{Considered, Fit, Matcher};
use crate::select::prepared::{GuardedKey, Prepared};
use crate::select::selection::{Selection, Source};
use crate::store::{Remembered, Remembering, Store, TrustAnchors};
use crate::vault::{Authenticated, NoUnlocker, SealedKey, Unlocker};

/// Selects identities from a store. Made by [`Selector::new`] and the `with_...` functions; clones share the store.
#[derive(Clone)]
pub struct Selector {
    store: Arc<Store>,
    mode: Option<Mode>,
    policies: Arc<PolicyFiles>,
    anchors: Arc<OnceLock<Arc<TrustAnchors>>>,
    chooser: Arc<dyn Chooser>,
    unlocker: Arc<dyn Unlocker>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Selector {
    /// Where the administrator's policy files are, unless [`Self::with_policy_directory`] says otherwise.
    pub const POLICY_DIRECTORY: &str = "/etc/cardcase/policies/managed";

    /// A selector in the store's own mode, under the administrator's rules, that asks nobody.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            mode: None,
            policies: Arc::new(PolicyFiles::in_directory(Self::POLICY_DIRECTORY)),
            anchors: Arc::default(),
            chooser: Arc::new(NoChooser),
            unlocker: Arc::new(NoUnlocker),
            clock: Arc::new(Timestamp::now),
        }
    }

    /// Uses this mode instead of the store's.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// Takes the administrator's policy files from this directory, which need not exist: every `*.json` in it that is not
    /// hidden, each in the form of a managed policy of Chrome. Their rules apply in addition to those of the store. Nothing is
    /// selected while one of the files cannot be read: what it forbids must not happen because of a typing error.
    #[must_use]
    pub fn with_policy_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { policies: Arc::new(PolicyFiles::in_directory(directory)), ..self }
    }

    /// Reads the trusted authorities of the store, for a program that verifies servers with them: through
    /// [`Self::server_verifier`], or with OpenSSL through `connect::openssl::Connector::verifying`. They are read again for each
    /// connection. An authority that is no longer trusted verifies no server from then on. An authority that was added counts once
    /// an open vault, here or in an agent, has shown that the owner added it.
    ///
    /// A key is used only if the owner trusts all authorities that count. If the vault is open, this is checked now, and otherwise
    /// when a key is used. Asks nobody.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], and those of [reading](crate::Store#errors).
    pub fn with_trusted_authorities(self) -> Result<Self, Error> {
        self.read_anchors()?;
        Ok(self)
    }

    /// The authorities that the store trusts, kept up to date from the first call on, in all clones of this selector.
    ///
    /// # Errors
    /// Those of [`Self::with_trusted_authorities`].
    pub(crate) fn read_anchors(&self) -> Result<&Arc<TrustAnchors>, Error> {
        if let Some(known) = self.anchors.get() {
            return Ok(known);
        }
        let read = Arc::new(self.store.trust_anchors()?);
        Ok(self.anchors.get_or_init(|| read))
    }

    /// Asks this chooser where nothing else decides.
    #[must_use]
    pub fn with_chooser(self, chooser: Arc<dyn Chooser>) -> Self {
        Self { chooser, ..self }
    }

    /// Asks this unlocker for the primary password.
    #[must_use]
    pub fn with_unlocker(self, unlocker: Arc<dyn Unlocker>) -> Self {
        Self { unlocker, ..self }
    }

    /// Takes the time from this function instead of [`Timestamp::now`].
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The store it selects from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The authorities that [`Self::read_anchors`] read, kept up to date.
    pub(crate) fn anchors(&self) -> Option<&Arc<TrustAnchors>> {
        self.anchors.get()
    }

    /// The mode in force: how decisions are keyed.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub fn mode(&self) -> Result<Mode, Error> {
        match self.mode {
            Some(mode) => Ok(mode),
            None => Ok(self.store.settings()?.mode),
        }
    }

    /// The time, by its clock.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// What is known before the server asks: that the target carries no credentials, that a rule denies every identity, or the
    /// remembered answer, unless its identity is not valid now or a rule denies it.
    ///
    /// Reads the store and asks nobody.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub fn prepare(&self, target: impl Into<Target>) -> Result<Prepared, Error> {
        let target = target.into();
        Ok(self.prepare_at(&self.moment(&target)?, &target))
    }

    /// [`Self::prepare`], if it can answer without waiting: the store has not changed since it was read for this destination, and no
    /// agent has to be asked.
    ///
    /// # Errors
    /// Those of [`Self::prepare`].
    #[cfg(feature = "tokio")]
    pub(crate) fn prepare_unchanged(&self, target: &Target) -> Result<Option<Prepared>, Error> {
        Ok(self.moment_unchanged(target)?.map(|moment| self.prepare_at(&moment, target)))
    }

    fn prepare_at(&self, moment: &Moment, target: &Target) -> Prepared {
        let look = moment.look(target);
        if let Some(selection) = unconditional(&look) {
            return self.keyless(moment, &look, Some(selection));
        }
        let usable = look.remembered.filter(|answer| match answer {
            Answer::Identity(identity) => look.permits(identity.certificate()),
            Answer::None => true,
        });
        let key = moment.remembering().filter(|_| usable.is_some()).cloned();
        let key = key.map(|Remembering { key, decision }| self.guarded(key, moment, Some(decision)));
        Prepared { key, ..self.keyless(moment, &look, usable.map(Selection::decided)) }
    }

    /// Answers a server that was verified and asked for a certificate. May ask the chooser, and then blocks until there is an
    /// answer: do not call it on an asynchronous executor's thread.
    ///
    /// # Errors
    /// [`Error::Aborted`], [`Error::NobodyToAsk`] and [`Error::ChooserFailed`]: nothing was stored, and nothing may be sent.
    /// [`Error::Denied`] when a rule denies by now what was chosen. Those of the store.
    pub fn select(&self, target: impl Into<Target>, request: &CertificateRequest) -> Result<Prepared, Error> {
        self.select_with(&target.into(), request, &[], || ())
    }

    /// Answers the request of a server that refused everything it was sent so far. Asks the chooser, unless a different
    /// answer was decided in the meantime.
    ///
    /// # Errors
    /// Those of [`Self::select`].
    pub fn select_again(
        &self,
        target: impl Into<Target>,
        request: &CertificateRequest,
        refused: &[Refused],
    ) -> Result<Prepared, Error> {
        self.select_with(&target.into(), request, refused, || ())
    }

    /// Like [`Self::select`], but never asks: `None` when only the chooser can answer.
    pub(crate) fn select_known(
        &self,
        target: &Target,
        request: &CertificateRequest,
    ) -> Result<Option<Prepared>, Error> {
        let moment = self.moment(target)?;
        let look = moment.look(target);
        match self.decide(&look, request, &[])? {
            Verdict::Selected(selection) => self.prepared(&moment, &look, Some(selection), Some(request)).map(Some),
            Verdict::Ask(_) => Ok(None),
        }
    }

    /// [`Self::select`] and [`Self::select_again`]. Calls `before_asking` once it is clear that only the chooser can answer.
    pub(crate) fn select_with(
        &self,
        target: &Target,
        request: &CertificateRequest,
        refused: &[Refused],
        before_asking: impl FnOnce(),
    ) -> Result<Prepared, Error> {
        let moment = self.moment(target)?;
        let look = moment.look(target);
        let open = match self.decide(&look, request, refused)? {
            Verdict::Selected(selection) => return self.prepared(&moment, &look, Some(selection), Some(request)),
            Verdict::Ask(open) => open,
        };
        if !self.chooser.can_ask() {
            return Err(nobody(target.destination(), open.unfit.as_ref()));
        }
        before_asking();
        let lock = self.ask_lock(&look, request, refused)?;
        // While this waited, another may have got an answer
        let mut moment = self.moment(target)?;
        loop {
            let look = moment.look(target);
            let open = match self.decide(&look, request, refused)? {
                Verdict::Selected(selection) => return self.prepared(&moment, &look, Some(selection), Some(request)),
                Verdict::Ask(open) => open,
            };
            if let Some(answer) = self.taken_over(&lock, &open, target.destination())? {
                let selection = Selection::new(answer, Source::Ask);
                return self.prepared(&moment, &look, Some(selection), Some(request));
            }
            let (answer, lifetime) = self.ask_open(&lock, &look, request, open, refused)?;
            // Before the answer is remembered, and before the next look: a person may have to type the password
            if answer.fingerprint().is_some() && lifetime != Lifetime::Once {
                self.unlock()?;
            }
            // The person may have thought for long
            let later = self.moment(target)?;
            let now = later.look(target);
            if look.settings.mode == now.settings.mode && self.still_fits(&answer, &now, request)? {
                let scope = now.settings.mode.scope(target.destination());
                self.store.remember_chosen(&scope, &answer, lifetime, self.now())?;
                lock.tell(answer.fingerprint().map_or(Said::None, Said::Identity));
                return self.prepared(&later, &now, Some(Selection::new(answer, Source::Ask)), Some(request));
            }
            moment = later;
        }
    }

    /// Whether a person's answer still answers the request.
    ///
    /// # Errors
    /// [`Error::Denied`], and those of [reading](crate::Store#errors).
    fn still_fits(&self, answer: &Answer, now: &Look<'_>, request: &CertificateRequest) -> Result<bool, Error> {
        now.check_not_denied(answer)?;
        Ok(match answer {
            Answer::None => true,
            // With another name it is not what the person saw
            Answer::Identity(chosen) => self.store.identity(chosen.fingerprint())?.is_some_and(|identity| {
                identity.name() == chosen.name() && now.matcher(request).reasons(&identity).is_empty()
            }),
        })
    }

    /// Selects nothing, whatever is remembered: the server's request comes back to the caller.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub fn undecided(&self, destination: &Destination) -> Result<Prepared, Error> {
        let target = destination.into();
        let moment = self.moment(&target)?;
        Ok(self.keyless(&moment, &moment.look(&target), None))
    }

    /// Selects this identity for one connection, whatever is remembered.
    ///
    /// # Errors
    /// [`Error::Denied`] when a rule forbids it, and those of [reading](crate::Store#errors).
    pub fn given(&self, target: impl Into<Target>, identity: Identity) -> Result<Prepared, Error> {
        let target = target.into();
        let selection = Selection::new(Answer::Identity(Arc::new(identity)), Source::Given);
        let moment = self.moment(&target)?;
        self.prepared(&moment, &moment.look(&target), Some(selection), None)
    }

    /// How a request would be answered, and why: how each identity of the store compares with it, and what would be sent or
    /// why the chooser would be asked. Asks nobody and stores nothing.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub fn explain(&self, target: impl Into<Target>, request: &CertificateRequest) -> Result<Explanation, Error> {
        let target = target.into();
        let moment = self.moment(&target)?;
        let look = moment.look(&target);
        let (selection, unfit, ambiguous_rule) = match self.decide(&look, request, &[])? {
            Verdict::Selected(selection) => (Some(selection), None, None),
            Verdict::Ask(Open { unfit, ambiguous_rule, .. }) => (None, unfit, ambiguous_rule),
        };
        let matcher = look.matcher(request);
        let identities = self.store.identities()?.into_iter();
        let identities = identities.map(|identity| matcher.consider(Arc::new(identity))).collect();
        Ok(Explanation { selection, unfit, ambiguous_rule, identities })
    }

    /// Whether a connection to `opened` may carry a request for `target`: whether it would be opened with the same answer now, and
    /// its server would be verified. `distrusted` is the value of [`Prepared::distrusted`] when it was opened. `answered` is what the
    /// server asked for and what it was sent, if it asked. An answer that was chosen for once is valid for one request only.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub(crate) fn may_reuse(
        &self,
        opened: &Destination,
        distrusted: u64,
        answered: Option<(&CertificateRequest, &Prepared)>,
        target: &Target,
    ) -> Result<bool, Error> {
        if opened != target.destination() {
            return Ok(false);
        }
        let moment = self.moment(target)?;
        is_answered_so(
            &moment,
            distrusted,
            answered,
            target,
            |matcher| self.candidates(matcher),
            |outline| self.read_one(outline),
        )
    }

    /// [`Self::may_reuse`] for a request to the destination itself, if it can answer without waiting: the store has not changed since it
    /// was read for this destination, and neither candidates have to be looked for nor an agent has to be asked.
    ///
    /// # Errors
    /// Those of [`Self::may_reuse`].
    #[cfg(feature = "hyper")]
    pub(crate) fn may_reuse_unchanged(
        &self,
        opened: &Destination,
        distrusted: u64,
        answered: Option<(&CertificateRequest, &Prepared)>,
    ) -> Result<Option<bool>, Error> {
        let target = opened.into();
        let Some(moment) = self.moment_unchanged(&target)? else { return Ok(None) };
        let are_needed = Cell::new(false);
        let no_candidates = |_: &Matcher<'_>| {
            are_needed.set(true);
            Ok(Fit::default())
        };
        let may_reuse =
            is_answered_so(&moment, distrusted, answered, &target, no_candidates, |outline| self.read_one(outline))?;
        Ok((!are_needed.get()).then_some(may_reuse))
    }

    /// The identities that fit a request, best first, as Chrome's `platformKeys.selectClientCertificates` gives them. With
    /// `interactive`, the destination that asks, the chooser picks one of them or none. Stores nothing and sends nothing.
    ///
    /// They are read from the store while the iterator is used; those that are skipped are not read.
    ///
    /// # Errors
    /// [`Error::Aborted`], [`Error::NobodyToAsk`], [`Error::ChooserFailed`], and those of [reading](crate::Store#errors), also from
    /// the iterator, which then ends.
    pub fn select_client_certificates(
        &self,
        request: &CertificateRequest,
        interactive: Option<&Destination>,
    ) -> Result<impl Iterator<Item = Result<Arc<Identity>, Error>> + use<'_>, Error> {
        let (authorities, now) = (self.store.arranged_authorities()?, self.now());
        let matcher = Matcher::new(request, &authorities, now);
        let mut fit = self.candidates(&matcher)?;
        let (chosen, fitting) = match interactive.filter(|_| !fit.is_empty()) {
            None => (Answer::None, fit.iter().map(|candidate| candidate.fingerprint).collect()),
            Some(destination) => {
                fit.put_used_first(&self.store.used_before(destination)?, now);
                let question = Question {
                    destination,
                    request,
                    candidates: Candidates::new(&self.store, matcher, fit),
                    authorities: &authorities,
                    mode: self.mode()?,
                    unfit: None,
                    refused: &[],
                    now,
                };
                (self.ask(question)?.0, Vec::new())
            }
        };
        let chosen = match chosen {
            Answer::Identity(identity) => Some(Ok(identity)),
            Answer::None => None,
        };
        Ok(chosen.into_iter().chain(self.store.each_with(fitting)))
    }

    /// Unlocks the vault, if it is locked. Blocks while the person types and the key is derived.
    ///
    /// # Errors
    /// Those of [`Store::unlock`].
    pub fn unlock(&self) -> Result<(), Error> {
        self.store.unlock(&*self.unlocker)
    }

    /// Unlocks the vault in this process, even if an agent could sign: for programs that need private keys in the clear.
    ///
    /// # Errors
    /// Those of [`Store::unlock_fully`].
    pub fn unlock_fully(&self) -> Result<(), Error> {
        self.store.unlock_fully(&*self.unlocker)
    }

    /// Prepares the same selection with the key and the authorities that the store has now, such as after unlocking. What was
    /// looked up in the store is looked up again, and may have changed. Asks nobody: when only the chooser can answer now,
    /// nothing is selected.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors), and [`Error::Denied`] when a rule denies by now what was chosen.
    pub fn refresh(&self, prepared: &Prepared) -> Result<Prepared, Error> {
        let target = &prepared.target;
        let (selection, request) = (prepared.selection.as_ref(), prepared.request.as_ref());
        if request.is_none() && selection.is_some_and(Selection::is_looked_up) {
            return self.prepare(target);
        }
        let moment = self.moment(target)?;
        let look = moment.look(target);
        let selection = match request {
            None => selection.cloned(),
            Some(request) => match self.decide(&look, request, &[])? {
                Verdict::Selected(selection) => Some(selection),
                Verdict::Ask(_) => None,
            },
        };
        self.prepared(&moment, &look, selection, request)
    }

    /// Whether the chooser can ask somebody now.
    pub(crate) fn can_ask(&self) -> bool {
        self.chooser.can_ask()
    }

    /// Tells the chooser that somebody waits for an answer that another is getting.
    #[cfg(feature = "tokio")]
    pub(crate) fn waits(&self, destination: &Destination) {
        self.chooser.waiting(destination);
    }

    /// Records in the history how a server reacted to a selection. In chrome mode a decision that was refused is forgotten, as
    /// Chrome does. A refusal is written now, everything else soon: [`Store::flush`].
    ///
    /// # Errors
    /// For a refusal, those of [writing](crate::Store#errors). [`Error::Io`] when other users can enter the directory of the session.
    pub fn record(
        &self,
        destination: &Destination,
        selection: &Selection,
        outcome: Outcome,
        alert: Option<String>,
        tls_version: Option<String>,
    ) -> Result<(), Error> {
        let used = Use {
            at: self.now(),
            destination: Some((destination.host().to_owned(), destination.port())),
            program: None,
            identity: selection.answer.fingerprint(),
            source: selection.source.to_string(),
            outcome,
            alert,
            tls_version,
        };
        let is_remembered = matches!(selection.source, Source::Decision | Source::Ask);
        self.store.record(used, is_remembered.then(|| (destination.clone(), self.mode)))
    }

    /// Prepares what was selected, as the answer to `request` if that led to it.
    fn prepared(
        &self,
        moment: &Moment,
        look: &Look<'_>,
        selection: Option<Selection>,
        request: Option<&CertificateRequest>,
    ) -> Result<Prepared, Error> {
        let Some(mut selection) = selection else { return Ok(self.keyless(moment, look, None)) };
        look.check_not_denied(&selection.answer)?;
        let mut key = None;
        if let Answer::Identity(selected) = &selection.answer {
            let found = self.store.identity_with_key(selected.fingerprint())?;
            let (identity, sealed) =
                found.ok_or_else(|| Error::UnknownIdentity { id: selected.fingerprint().to_string() })?;
            if matches!(selection.source, Source::Ask | Source::Given) {
                sealed.check_chosen(selected)?;
            }
            selection.answer = Answer::Identity(identity);
            let decision = moment.decision().filter(|_| selection.source == Source::Decision);
            key = Some(self.guarded(sealed, moment, decision));
        }
        let request = request.filter(|_| selection.is_conditional());
        let only_this_version = match request {
            Some(request) => self.depends_on_version(look, request)?,
            None => false,
        };
        let prepared = self.keyless(moment, look, Some(selection));
        Ok(Prepared { key, request: request.cloned(), only_this_version, ..prepared })
    }

    /// What was selected at this moment, without a key.
    fn keyless(&self, moment: &Moment, look: &Look<'_>, selection: Option<Selection>) -> Prepared {
        Prepared {
            target: look.target.clone(),
            requires_tls13: selection.as_ref().is_some_and(|selection| look.requires_tls13(&selection.answer)),
            selection,
            authorities: moment.remembered.authorities.clone(),
            key: None,
            request: None,
            only_this_version: false,
            terms: (look.settings, moment.rules.clone()),
            vault: moment.vault.clone(),
            distrusted: moment.distrusted,
        }
    }

    fn guarded(&self, sealed: SealedKey, moment: &Moment, decision: Option<Authenticated>) -> GuardedKey {
        let terms = moment.remembered.terms.authenticated.clone();
        let conditions = std::iter::once(terms).chain(decision).collect();
        GuardedKey { sealed, vault: moment.vault.clone(), conditions }
    }

    /// Whether an identity is no candidate only because the request came below TLS 1.3.
    fn depends_on_version(&self, look: &Look<'_>, request: &CertificateRequest) -> Result<bool, Error> {
        if !request.is_visible() {
            return Ok(false);
        }
        let fit = self.candidates(&look.matcher(&request.clone().with_version(None)))?;
        let matcher = look.matcher(request);
        Ok(fit.iter().any(|candidate| !matcher.fits(candidate)))
    }

    fn moment(&self, target: &Target) -> Result<Moment, Error> {
        self.moment_with(self.store.remembered(target.destination(), self.mode)?)
    }

    /// [`Self::moment`], if the store has not changed since it was read for this destination, and no agent holds the data key.
    #[cfg(feature = "tokio")]
    fn moment_unchanged(&self, target: &Target) -> Result<Option<Moment>, Error> {
        let remembered = self.store.remembered_unchanged(target.destination(), self.mode)?;
        let remembered = remembered.filter(|remembered| !remembered.vault.is_held_elsewhere());
        remembered.map(|remembered| self.moment_with(remembered)).transpose()
    }

    fn moment_with(&self, remembered: Arc<Remembered>) -> Result<Moment, Error> {
        let distrusted = self.anchors().map_or(0, |anchors| anchors.follow(&remembered));
        Moment::new(remembered, distrusted, &self.policies, self.now())
    }

    fn decide(&self, look: &Look<'_>, request: &CertificateRequest, refused: &[Refused]) -> Result<Verdict, Error> {
        decide(look, request, refused, |matcher| self.candidates(matcher), |outline| self.read_one(outline))
    }

    /// An identity in full.
    fn read_one(&self, outline: &Outline) -> Result<Arc<Identity>, Error> {
        let identity = self.store.identity(outline.fingerprint)?;
        identity.ok_or_else(|| Error::UnknownIdentity { id: outline.fingerprint.to_string() })
    }

    /// The identities that fit, best first. Where nobody is asked, what was used before does not count: the history has no
    /// authentication code, and must not influence what is sent.
    fn candidates(&self, matcher: &Matcher<'_>) -> Result<Fit, Error> {
        Ok(matcher.fit(self.store.found(matcher.requested())?))
    }

    /// Asks what only the chooser can answer, with the identities that were used at this host before first. Tells those who wait if the
    /// answer is to abort.
    fn ask_open(
        &self,
        lock: &AskLock,
        look: &Look<'_>,
        request: &CertificateRequest,
        open: Open,
        refused: &[Refused],
    ) -> Result<(Answer, Lifetime), Error> {
        let (destination, mode) = (look.target.destination(), look.settings.mode);
        let Open { candidates: mut fit, unfit, .. } = open;
        fit.put_used_first(&self.store.used_before(destination)?, look.now);
        let answered = self.ask(Question {
            destination,
            request,
            candidates: Candidates::new(&self.store, look.matcher(request), fit),
            authorities: look.authorities,
            mode,
            unfit: unfit.as_ref(),
            refused,
            now: look.now,
        });
        if let Err(Error::Aborted { .. }) = answered {
            lock.tell(Said::Abort);
        }
        let (answer, lifetime) = answered?;
        Ok((answer, if mode == Mode::Chrome { Lifetime::Permanent } else { lifetime }))
    }

    /// Asks the chooser.
    fn ask(&self, question: Question<'_>) -> Result<(Answer, Lifetime), Error> {
        let reply = self.chooser.choose(&question);
        let Question { destination, unfit, candidates, .. } = question;
        let answered = match reply {
            Reply::Identity { identity, lifetime } if candidates.contains(identity.fingerprint()) => {
                Ok((Answer::Identity(identity), lifetime))
            }
            Reply::None { lifetime } => Ok((Answer::None, lifetime)),
            Reply::Abort | Reply::Identity { .. } => Err(aborted(destination)),
            Reply::Nobody => Err(nobody(destination, unfit)),
            Reply::Failed { reason } => Err(unanswered(destination, reason)),
        };
        candidates.check_read().and(answered)
    }

    /// The answer that another got to the same question meanwhile, if it answers this request too.
    ///
    /// # Errors
    /// [`Error::Aborted`] when that was to abort, [`Error::Io`], and those of [reading](crate::Store#errors).
    fn taken_over(&self, lock: &AskLock, open: &Open, destination: &Destination) -> Result<Option<Answer>, Error> {
        match lock.heard()? {
            None => Ok(None),
            Some(Said::Abort) => Err(aborted(destination)),
            Some(Said::None) => Ok(Some(Answer::None)),
            Some(Said::Identity(fingerprint)) => {
                match open.candidates.iter().any(|candidate| candidate.fingerprint == fingerprint) {
                    true => Ok(self.store.identity(fingerprint)?.map(Answer::Identity)),
                    false => Ok(None),
                }
            }
        }
    }

    /// Keeps everyone else from asking about the same scope, in this process and in others, until it is dropped.
    fn ask_lock(&self, look: &Look<'_>, request: &CertificateRequest, refused: &[Refused]) -> Result<AskLock, Error> {
        let destination = look.target.destination();
        let mut scope = Sha256::new();
        scope.update(self.store.path().as_os_str().as_encoded_bytes());
        scope.update(look.settings.mode.scope(destination).to_string());
        let [high, low, ..] = <[u8; 32]>::from(scope.clone().finalize());
        let question = question_id(scope, look.target, request, refused);
        let slot = u16::from_be_bytes([high, low]);
        AskLock::wait(self.store.session(), slot, question, || self.chooser.waiting(destination))
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector").field("store", &self.store).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Whether the same would be answered at this moment, and its key may be used.
fn is_answered_so(
    moment: &Moment,
    distrusted: u64,
    answered: Option<(&CertificateRequest, &Prepared)>,
    target: &Target,
    candidates: impl Fn(&Matcher<'_>) -> Result<Fit, Error>,
    read: impl Fn(&Outline) -> Result<Arc<Identity>, Error>,
) -> Result<bool, Error> {
    if moment.distrusted != distrusted {
        return Ok(false);
    }
    let Some((request, answered)) = answered else { return Ok(true) };
    let is_usable = answered.key.as_ref().is_none_or(|key| key.may_be_used(&moment.vault));
    Ok(match decide(&moment.look(target), request, &[], candidates, read)? {
        Verdict::Selected(selection) => {
            let answer = answered.selection.as_ref().map(|selection| selection.answer.fingerprint());
            is_usable && answer == Some(selection.answer.fingerprint())
        }
        Verdict::Ask(_) => false,
    })
}

fn aborted(destination: &Destination) -> Error {
    Error::Aborted { destination: destination.to_string() }
}

fn unanswered(destination: &Destination, reason: String) -> Error {
    Error::ChooserFailed { destination: destination.to_string(), reason }
}

/// The error when nobody can be asked. It says why the remembered identity no longer fits.
fn nobody(destination: &Destination, unfit: Option<&Considered>) -> Error {
    let remembered = unfit.map(ToString::to_string);
    Error::NobodyToAsk { destination: destination.to_string(), remembered }
}

/// Two questions are the same when one answer serves both: about the same destination and path, which the person and the rules
/// see, after requests that [are alike](CertificateRequest::question) and after the same refusals.
fn question_id(mut hash: Sha256, target: &Target, request: &CertificateRequest, refused: &[Refused]) -> QuestionId {
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(target.destination().to_string().as_bytes());
    add(target.path().unwrap_or_default().as_bytes());
    add(&request.question());
    for refused in refused {
        hash.update(refused.answer.fingerprint().map_or([0; 32], |identity| *identity.as_bytes()));
    }
    hash.finalize().into()
}
