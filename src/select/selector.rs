//! The selector: where request, store, decisions and chooser meet. It answers, and says why.
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

mod compared;
mod selection;

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::compared::Compared;
pub(crate) use self::selection::GuardedKey;
pub use self::selection::{Explanation, Prepared, Selection, Source};
use crate::answer::decision::{Answer, Lifetime, Outcome};
use crate::answer::history::Use;
use crate::answer::policy::Policy;
use crate::answer::policy::directory::PolicyFiles;
use crate::answer::rules::Rules;
use crate::answer::settings::Mode;
use crate::certificate::Certificate;
use crate::certificate::identity::Identity;
use crate::clock::Timestamp;
use crate::error::{Damage, Error};
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::asking::{QuestionId, Said, Turn};
use crate::select::chooser::{Chooser, NoChooser, Question, Refused, Reply};
use crate::select::matching::{Considered, Matcher};
use crate::store::{Found, Remembered, Remembering, Store, TrustAnchors};
use crate::vault::{Authenticated, SealedKey};
use crate::vault::{NoUnlocker, Unlocker};

/// Selects identities from a store. Made by [`Selector::new`] and the `with_...` functions; clones share the store.
#[derive(Clone)]
pub struct Selector {
    store: Arc<Store>,
    mode: Option<Mode>,
    policies: Arc<PolicyFiles>,
    anchors: Option<TrustAnchors>,
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
            anchors: None,
            chooser: Arc::new(NoChooser),
            unlocker: Arc::new(NoUnlocker),
            clock: Arc::new(Timestamp::now),
        }
    }

    /// In this mode, whatever the store says.
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

    /// Reads the trusted authorities of the store, for a program that verifies servers by
    /// [them](Self::trusted_authorities). A key is used only if they were the owner's when they were read. Where the vault is
    /// open, or an agent has it, that is checked now, and otherwise when a key is used. Asks nobody.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], and those of [reading](crate::manage#errors).
    pub fn with_trusted_authorities(self) -> Result<Self, Error> {
        let anchors = Some(self.store.trust_anchors()?);
        Ok(Self { anchors, ..self })
    }

    /// Asking this chooser.
    #[must_use]
    pub fn with_chooser(self, chooser: Arc<dyn Chooser>) -> Self {
        Self { chooser, ..self }
    }

    /// Asking this unlocker for the primary password.
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

    /// The CA certificates that [`Self::with_trusted_authorities`] read; none without that call.
    pub fn trusted_authorities(&self) -> &[Certificate] {
        self.anchors.as_ref().map_or(&[], TrustAnchors::certificates)
    }

    /// What the administrator's policy files say, as far as they can be read, and what is wrong with the others. To show to
    /// people: nothing is selected while one of them is broken.
    pub fn survey_policies(&self) -> (Policy, Vec<Error>) {
        self.policies.survey()
    }

    /// How decisions are keyed by now.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
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

    /// What is known before the server asks: that credentials are omitted, that a rule denies every identity, or the
    /// remembered answer, unless its identity is out of its validity or denied.
    ///
    /// Reads the store, and asks nobody.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn prepare(&self, target: impl Into<Target>) -> Result<Prepared, Error> {
        let target = target.into();
        let look = self.look(&target)?;
        let now = self.now();
        let in_force = look.rules.in_force(target.destination(), target.path());
        let usable = look.remembered.answer.as_ref().filter(|(answer, _)| match answer {
            Answer::Identity(identity) => {
                identity.certificate().is_valid_at(now) && in_force.denied(identity.certificate()).is_none()
            }
            Answer::None => true,
        });
        let (selection, key) = match (unconditional(&target, &look.rules), usable) {
            (Some(selection), _) => (Some(selection), None),
            (None, Some((answer, key))) => (Some(Selection::new(answer.clone(), Source::Decision)), key.clone()),
            (None, None) => (None, None),
        };
        let key = key.map(|Remembering { key, decision }| self.guarded(key, &look, Some(decision)));
        Ok(Prepared { key, ..look.prepared(&target, selection) })
    }

    /// Answers a server that was verified and asked for a certificate. May ask the chooser, and then blocks for as long
    /// as that takes: not for an asynchronous executor's thread.
    ///
    /// # Errors
    /// [`Error::Aborted`], [`Error::NobodyToAsk`] and [`Error::ChooserFailed`]: nothing was stored, and nothing may be sent.
    /// [`Error::Denied`] when a rule forbids meanwhile what was chosen. Those of the store.
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

    /// Like [`Self::select`], but never asks: `None` where only the chooser can answer.
    pub(crate) fn select_known(
        &self,
        target: &Target,
        request: &CertificateRequest,
    ) -> Result<Option<Prepared>, Error> {
        let look = self.look(target)?;
        let selection = self.consider(&look, target, request).unasked()?;
        selection.map(|selection| self.prepared(&look, target, Some(selection), Some(request))).transpose()
    }

    /// [`Self::select`] and [`Self::select_again`]. Calls `before_asking` once it is clear that only the chooser can answer.
    pub(crate) fn select_with(
        &self,
        target: &Target,
        request: &CertificateRequest,
        refused: &[Refused],
        before_asking: impl FnOnce(),
    ) -> Result<Prepared, Error> {
        // What was refused is asked about, unless nothing else may be sent
        let answers_anew = |selection: &Selection| {
            let sent = selection.answer.fingerprint();
            let is_choice = sent.is_some() || selection.source == Source::Decision;
            !is_choice || refused.iter().all(|refused| refused.answer.fingerprint() != sent)
        };
        let look = self.look(target)?;
        let considered = self.consider(&look, target, request);
        if let Some(selection) = considered.unasked()?.filter(&answers_anew) {
            return self.prepared(&look, target, Some(selection), Some(request));
        }
        if !self.chooser.can_ask() {
            return Err(considered.nobody());
        }
        before_asking();
        let turn = self.turn_to_ask(&look, target, request, refused)?;
        // Whoever waited here may find the answer that another was given
        let mut look = self.look(target)?;
        loop {
            let considered = self.consider(&look, target, request);
            if let Some(selection) = considered.unasked()?.filter(&answers_anew) {
                return self.prepared(&look, target, Some(selection), Some(request));
            }
            if let Some(answer) = turn.heard()?.map(|said| considered.taken_over(said)).transpose()?.flatten() {
                let selection = Selection::new(answer.ok_or_else(|| aborted(target.destination()))?, Source::Ask);
                return self.prepared(&look, target, Some(selection), Some(request));
            }
            let (answer, lifetime) = self.ask(&turn, &look, &considered, target, refused)?;
            // Before it is remembered, and before the next look: somebody may have to type
            if answer.fingerprint().is_some() && lifetime != Lifetime::Once {
                self.unlock()?;
            }
            // The person may have thought for long
            let now = self.look(target)?;
            if self.still_does(&answer, &look, &now, target, request)? {
                let scope = look.remembered.settings.mode.scope(target.destination());
                self.store.remember_chosen(&scope, &answer, lifetime, self.now())?;
                turn.tell(answer.fingerprint().map_or(Said::None, Said::Identity));
                return self.prepared(&now, target, Some(Selection::new(answer, Source::Ask)), Some(request));
            }
            look = now;
        }
    }

    /// Whether what was answered to a question that was asked `then` answers it `now`.
    ///
    /// # Errors
    /// [`Error::Denied`], and those of [reading](crate::manage#errors).
    fn still_does(
        &self,
        answer: &Answer,
        then: &Look,
        now: &Look,
        target: &Target,
        request: &CertificateRequest,
    ) -> Result<bool, Error> {
        check_not_denied(target, &now.rules, answer)?;
        let fits = match answer {
            Answer::None => true,
            // Not what the person saw, if it has another name by now
            Answer::Identity(chosen) => self.store.identity(chosen.fingerprint())?.is_some_and(|identity| {
                identity.name() == chosen.name() && self.matcher(now, target, request).reasons(&identity).is_empty()
            }),
        };
        Ok(fits && then.remembered.settings.mode == now.remembered.settings.mode)
    }

    /// Decides nothing: the server's request comes back as a needs, whatever is remembered.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn undecided(&self, destination: &Destination) -> Result<Prepared, Error> {
        let target = destination.into();
        self.prepared(&self.look(&target)?, &target, None, None)
    }

    /// Takes this identity for this once, whatever is remembered.
    ///
    /// # Errors
    /// [`Error::Denied`] when a rule forbids it, and those of [reading](crate::manage#errors).
    pub fn given(&self, target: impl Into<Target>, identity: Identity) -> Result<Prepared, Error> {
        let target = target.into();
        let selection = Selection::new(Answer::Identity(Arc::new(identity)), Source::Given);
        self.prepared(&self.look(&target)?, &target, Some(selection), None)
    }

    /// What would answer this request, and why: how each identity of the store compares with it, and what would be sent or
    /// why the chooser would be asked. Asks nobody and stores nothing.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn explain(&self, target: impl Into<Target>, request: &CertificateRequest) -> Result<Explanation, Error> {
        let target = target.into();
        let look = self.look(&target)?;
        let compared = self.consider(&look, &target, request);
        let identities = self.store.identities()?.into_iter();
        let identities = identities.map(|identity| compared.matcher.consider(Arc::new(identity))).collect();
        compared.explained(identities)
    }

    /// Whether a connection to `opened` may carry a request for `target`: whether it would be opened with the same answer
    /// now. `answered` is what the server asked for and what it was sent, if it asked. What was chosen for once holds for
    /// one request only.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub(crate) fn may_reuse(
        &self,
        opened: &Destination,
        answered: Option<(&CertificateRequest, &Answer)>,
        target: &Target,
    ) -> Result<bool, Error> {
        if opened != target.destination() {
            return Ok(false);
        }
        let Some((request, answer)) = answered else { return Ok(true) };
        let now = self.consider(&self.look(target)?, target, request).unasked()?;
        Ok(now.is_some_and(|selection| selection.answer.fingerprint() == answer.fingerprint()))
    }

    /// The identities that fit a request, best first, as Chrome's `platformKeys.selectClientCertificates` gives them. With
    /// `interactive`, the destination that asks, the chooser picks one of them or none. Stores nothing and sends nothing.
    ///
    /// # Errors
    /// [`Error::Aborted`], [`Error::NobodyToAsk`], [`Error::ChooserFailed`], and those of [reading](crate::manage#errors).
    pub fn select_client_certificates(
        &self,
        request: &CertificateRequest,
        interactive: Option<&Destination>,
    ) -> Result<Vec<Arc<Identity>>, Error> {
        let known = self.store.authorities()?;
        let matcher = Matcher::new(request, &known, self.now());
        let candidates = self.candidates(&matcher, interactive)?.fit;
        let Some(destination) = interactive.filter(|_| !candidates.is_empty()) else {
            return Ok(candidates.into_iter().map(|candidate| candidate.identity).collect());
        };
        let question = Question {
            destination,
            request,
            candidates: &candidates,
            authorities: &known,
            mode: self.mode()?,
            unfit: None,
            refused: &[],
            now: self.now(),
        };
        match self.chooser.choose(&question) {
            Reply::Identity { index, .. } => {
                let chosen = candidates.get(index).ok_or_else(|| aborted(destination))?;
                Ok(vec![chosen.identity.clone()])
            }
            Reply::None { .. } => Ok(Vec::new()),
            Reply::Abort => Err(aborted(destination)),
            Reply::Nobody => Err(Error::NobodyToAsk { destination: destination.to_string(), remembered: None }),
            Reply::Failed => Err(unanswered(destination)),
        }
    }

    /// Unlocks the vault, if it is locked. Blocks while the person types and the key is derived.
    ///
    /// # Errors
    /// Those of [`Store::unlock`].
    pub fn unlock(&self) -> Result<(), Error> {
        self.store.unlock(&*self.unlocker)
    }

    /// Unlocks the vault in this process, whether or not an agent would sign: for who needs private keys in the clear.
    ///
    /// # Errors
    /// Those of [`Store::unlock_fully`].
    pub fn unlock_fully(&self) -> Result<(), Error> {
        self.store.unlock_fully(&*self.unlocker)
    }

    /// The same selection with the key and the authorities as the store has them by now, such as after unlocking. What was
    /// found in the store, or for want of anything there, is looked up anew: it may have changed meanwhile. Asks nobody;
    /// where only a person can answer by now, nothing is selected.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors), and [`Error::Denied`] when a rule forbids meanwhile what was chosen.
    pub fn refresh(&self, prepared: &Prepared) -> Result<Prepared, Error> {
        let target = &prepared.target;
        let look = self.look(target)?;
        match (&prepared.selection, &prepared.request) {
            (Some(selection), None) if selection.is_looked_up() => self.prepare(target),
            (_, Some(request)) => {
                let selection = self.consider(&look, target, request).unasked()?;
                self.prepared(&look, target, selection, Some(request))
            }
            (selection, None) => self.prepared(&look, target, selection.clone(), None),
        }
    }

    /// Says that somebody waits for the answer that another is being given.
    #[cfg(feature = "tokio")]
    pub(crate) fn waits(&self, destination: &Destination) {
        self.chooser.waiting(destination);
    }

    /// Records what became of a selection. In chrome mode a decision that was refused is forgotten, as Chrome does.
    ///
    /// # Errors
    /// Those of [writing](crate::manage#errors).
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
            host: destination.host().to_owned(),
            port: destination.port(),
            identity: selection.answer.fingerprint(),
            source: selection.source.to_string(),
            outcome,
            alert,
            tls_version,
        };
        let mode = self.mode()?;
        let decided = matches!(selection.source, Source::Decision | Source::Ask).then(|| mode.scope(destination));
        self.store.record(&used, decided.as_ref(), mode == Mode::Chrome)
    }

    /// Makes ready what was selected by this look, as the answer to `request` if that led to it.
    fn prepared(
        &self,
        look: &Look,
        target: &Target,
        selection: Option<Selection>,
        request: Option<&CertificateRequest>,
    ) -> Result<Prepared, Error> {
        let Some(mut selection) = selection else { return Ok(look.prepared(target, None)) };
        check_not_denied(target, &look.rules, &selection.answer)?;
        let mut key = None;
        if let Answer::Identity(selected) = &selection.answer {
            let found = self.store.identity_with_key(selected.fingerprint())?;
            let (identity, sealed) =
                found.ok_or_else(|| Error::UnknownIdentity { id: selected.fingerprint().to_string() })?;
            if matches!(selection.source, Source::Ask | Source::Given) {
                sealed.check_chosen(selected)?;
            }
            selection.answer = Answer::Identity(identity);
            let decision = look.decision().filter(|_| selection.source == Source::Decision);
            key = Some(self.guarded(sealed, look, decision));
        }
        let request = request.filter(|_| selection.is_conditional());
        let only_this_version = match request {
            Some(request) => self.depends_on_version(look, target, request)?,
            None => false,
        };
        let prepared = look.prepared(target, Some(selection));
        Ok(Prepared { key, request: request.cloned(), only_this_version, ..prepared })
    }

    fn guarded(&self, sealed: SealedKey, look: &Look, decision: Option<Authenticated>) -> GuardedKey {
        let terms = &look.remembered.terms;
        let anchors = self.anchors.as_ref().and_then(|anchors| anchors.condition(terms));
        let conditions = std::iter::once(&terms.authenticated).chain(anchors).cloned().chain(decision).collect();
        GuardedKey { sealed, vault: self.store.vault(), conditions }
    }

    /// Whether an identity is no candidate only because the request came below TLS 1.3.
    fn depends_on_version(&self, look: &Look, target: &Target, request: &CertificateRequest) -> Result<bool, Error> {
        if !request.is_visible() {
            return Ok(false);
        }
        let of_any_version = request.clone().with_version(None);
        let candidates = self.candidates(&self.matcher(look, target, &of_any_version), None)?.fit;
        let matcher = self.matcher(look, target, request);
        Ok(candidates.iter().any(|candidate| !matcher.reasons(&candidate.identity).is_empty()))
    }

    fn look(&self, target: &Target) -> Result<Look, Error> {
        let mut remembered = self.store.remembered(target.destination(), self.mode)?;
        let (rules, prompt_on_multiple) = self.policies.join(remembered.rules.clone())?;
        remembered.settings.prompt_on_multiple |= prompt_on_multiple;
        Ok(Look { remembered, rules })
    }

    fn matcher<'a>(&self, look: &'a Look, target: &Target, request: &'a CertificateRequest) -> Matcher<'a> {
        let in_force = look.rules.in_force(target.destination(), target.path());
        Matcher::new(request, &look.remembered.authorities, self.now()).under(in_force)
    }

    fn consider<'a>(&'a self, look: &'a Look, target: &'a Target, request: &'a CertificateRequest) -> Compared<'a> {
        Compared {
            look,
            request,
            unconditional: unconditional(target, &look.rules),
            matcher: self.matcher(look, target, request),
            selector: self,
            destination: target.destination(),
            candidates: OnceCell::new(),
        }
    }

    fn candidates(&self, matcher: &Matcher<'_>, destination: Option<&Destination>) -> Result<Candidates, Error> {
        let Found { identities, damaged } = self.store.found(matcher.requested())?;
        let used_before = destination.map(|destination| self.store.used_before(destination)).transpose()?;
        let fit = matcher.candidates(identities, &used_before.unwrap_or_default());
        Ok(Candidates { fit, damaged: damaged.into_iter().next() })
    }

    fn ask(
        &self,
        turn: &Turn,
        look: &Look,
        considered: &Compared<'_>,
        target: &Target,
        refused: &[Refused],
    ) -> Result<(Answer, Lifetime), Error> {
        let (destination, mode) = (target.destination(), look.remembered.settings.mode);
        // Those used here before come first, for a person to see
        let candidates = self.candidates(&considered.matcher, Some(destination))?.fit;
        let reply = self.chooser.choose(&Question {
            destination,
            request: considered.request,
            candidates: &candidates,
            authorities: &look.remembered.authorities,
            mode,
            unfit: considered.unfit().as_ref(),
            refused,
            now: self.now(),
        });
        let (answer, lifetime) = match reply {
            Reply::Identity { index, lifetime } => {
                let chosen = candidates.get(index).ok_or_else(|| aborted(destination))?;
                (Answer::Identity(chosen.identity.clone()), lifetime)
            }
            Reply::None { lifetime } => (Answer::None, lifetime),
            Reply::Abort => {
                turn.tell(Said::Abort);
                return Err(aborted(destination));
            }
            Reply::Nobody => return Err(considered.nobody()),
            Reply::Failed => return Err(unanswered(destination)),
        };
        Ok((answer, if mode == Mode::Chrome { Lifetime::Permanent } else { lifetime }))
    }

    /// Holds back everyone else who would ask about the same scope, in this process and in others, until it is dropped.
    fn turn_to_ask(
        &self,
        look: &Look,
        target: &Target,
        request: &CertificateRequest,
        refused: &[Refused],
    ) -> Result<Turn, Error> {
        let mut scope = Sha256::new();
        scope.update(self.store.path().as_os_str().as_encoded_bytes());
        scope.update(look.remembered.settings.mode.scope(target.destination()).to_string());
        let [high, low, ..] = <[u8; 32]>::from(scope.clone().finalize());
        let question = question_id(scope, target, request, refused);
        let slot = u16::from_be_bytes([high, low]);
        Turn::wait(self.store.session(), slot, question, || self.chooser.waiting(target.destination()))
    }
}

/// The identities that fit a request, best first.
struct Candidates {
    fit: Vec<Considered>,
    /// A row that cannot be read, of an identity that might be one of them.
    damaged: Option<Damage>,
}

/// All that bears on an answer, of one moment.
struct Look {
    remembered: Remembered,
    /// Those of the store and the administrator's.
    rules: Arc<Rules>,
}

impl Look {
    /// The remembered decision for an identity, as far as it has to be authentic.
    fn decision(&self) -> Option<Authenticated> {
        let (_, remembering) = self.remembered.answer.as_ref()?;
        remembering.as_ref().map(|remembering| remembering.decision.clone())
    }

    /// What was selected by this look, without a key.
    fn prepared(&self, target: &Target, selection: Option<Selection>) -> Prepared {
        Prepared {
            target: target.clone(),
            requires_tls13: requires_tls13(target, &self.rules, selection.as_ref()),
            selection,
            authorities: self.remembered.authorities.clone(),
            key: None,
            request: None,
            only_this_version: false,
            terms: (self.remembered.settings, self.rules.clone()),
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector").field("store", &self.store).field("mode", &self.mode).finish_non_exhaustive()
    }
}

fn aborted(destination: &Destination) -> Error {
    Error::Aborted { destination: destination.to_string() }
}

fn unanswered(destination: &Destination) -> Error {
    Error::ChooserFailed { destination: destination.to_string() }
}

/// What answers every request of a server, whatever is remembered: credentials are omitted, or a rule denies every identity.
fn unconditional(target: &Target, rules: &Rules) -> Option<Selection> {
    if !target.carries_credentials() {
        return Some(Selection::new(Answer::None, Source::Omitted));
    }
    let in_force = rules.in_force(target.destination(), target.path());
    in_force.denies_all().map(|ruled| Selection::by(ruled, Answer::None))
}

/// A person may have thought for long, and named on the command line may be anything.
fn check_not_denied(target: &Target, rules: &Rules, answer: &Answer) -> Result<(), Error> {
    let Answer::Identity(identity) = answer else { return Ok(()) };
    match rules.in_force(target.destination(), target.path()).denied(identity.certificate()) {
        None => Ok(()),
        Some(ruled) => Err(Error::Denied {
            name: identity.name().to_owned(),
            destination: target.destination().to_string(),
            rule: ruled.origin(),
        }),
    }
}

fn requires_tls13(target: &Target, rules: &Rules, selection: Option<&Selection>) -> bool {
    let Some(Answer::Identity(identity)) = selection.map(|selection| &selection.answer) else { return false };
    let in_force = rules.in_force(target.destination(), target.path());
    identity.requires_tls13() || in_force.demands_tls13(identity.certificate()).is_some()
}

/// Two questions are the same when one answer does for both: about the same destination and path, which the person and the
/// rules see, the same authorities and signatures, as visible to others, and after the same refusals.
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
