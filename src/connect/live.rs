//! A TLS configuration that follows the store, for clients that take a [`ClientConfig`] and connect by themselves.
//!
//! Every handshake looks at what is decided now, so a change of the decision counts at the next connection, without a restart. Where
//! nothing is decided, the handshake fails, and a person is asked in the background: the client's next attempt finds the answer.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use cardcase::{Destination, Selector, Store};
//! use rustls::ClientConfig;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let selector = Arc::new(Selector::new(Arc::new(Store::open_default()?)));
//! let base = selector.client_config(ClientConfig::builder())?;
//! let broker: Destination = "broker.example.com:8883".parse()?;
//! let config = cardcase::connect::config(selector, broker, &base);
//! # Ok(()) }
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WantsClientCert,
};
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ClientConfig, ClientConnection, ConfigBuilder, NamedGroup, SignatureScheme};

use crate::certificate::Fingerprint;
use crate::connect::hosts::{Hosts, RequestFrom, SESSIONS};
use crate::connect::needs::{Needs, grant};
use crate::connect::refusal::causes;
use crate::connect::resolver::{self, LastNeeds, Resolver, failing};
use crate::error::Error;
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::prepared::Prepared;
use crate::select::selection::Source;
use crate::select::selector::Selector;
use crate::vault::NoUnlocker;

/// How long an error of a question is given to further handshakes before somebody is asked again.
const ASKS_AGAIN: Duration = Duration::from_secs(10);

/// Questions whose outcome is kept.
const QUESTIONS: usize = 16;

/// `base` for one destination, with a client certificate that is selected anew in every handshake.
///
/// - What is decided at the time of a handshake counts: `remember`, `forget`, a renewal and a lock take effect at the next connection.
///   A session is resumed only if the same would be sent now.
/// - If nothing is decided, the handshake fails with [`Cause::Needs`](crate::connect::Cause::Needs), after the server was verified. Then
///   a thread asks the selector's chooser, or its unlocker for the primary password, once, however many connections are attempted
///   meanwhile. A program that does not connect again by itself calls [`wait`]. An answer that is valid once is used for the next
///   connection whose server asks the same.
/// - If the person aborts or cancels, the same is not asked again: further handshakes fail with [`Error::Aborted`] or
///   [`Error::Declined`] until it is decided or unlocked in another way. After another error, it is asked again at the earliest
///   after ten seconds.
/// - If the process ends while that thread asks on the terminal, the terminal stays raw. With the feature `ask`, call
///   `ask::Dialogs::close_all` before the process ends, by a signal or by itself.
/// - It is for the host of `destination` alone. In a handshake with another host, a proxy for instance, it sends no certificate. From then
///   on it sends none to its own host either: [`Error::OtherHost`] says so.
///
/// Prefer a connector of this module where the client can take one. This configuration does not see the stream below the session,
/// so:
///
/// - It is not told the port. It sends the identity that is decided for its destination to any port of the host, also in chrome mode and
///   where a rule denies it for another port.
/// - In TLS 1.2, a server that asks while nothing is decided gets an empty Certificate before the connection ends.
/// - An identity that requires TLS 1.3 is sent only if `base` does not allow TLS 1.2.
/// - Rules for a path do not apply, and nothing is recorded in the history. So in chrome mode a refused decision is not forgotten.
///
/// It replaces the session store of `base`: leave [`ClientConfig::resumption`] as it is, since only the session store is told the name of
/// the server. Each handshake reads the store on the thread that makes it. That takes about 0.1 ms, but may take seconds while another
/// process writes, or while an agent does not answer.
pub fn config(selector: Arc<Selector>, destination: Destination, base: &ClientConfig) -> ClientConfig {
    let live = Live::new(selector, destination, base);
    resolver::config(base, live.clone(), Resumption::store(live))
}

/// Waits until the question that an error is about is closed, and returns `true`: connect again. If the person aborted or asking
/// failed, the next attempt fails with that error. Returns `false` if no question was asked in the background: only [`config`] and
/// `reqwest::for_destination` ask there.
///
/// For a program that makes a single connection. Blocks while a person thinks, so do not call it on a thread of an asynchronous executor.
///
/// ```no_run
/// # fn example(config: std::sync::Arc<rustls::ClientConfig>) -> Result<(), Box<dyn std::error::Error>> {
/// # fn connect(_: &rustls::ClientConfig) -> std::io::Result<()> { Ok(()) }
/// let mut connected = connect(&config);
/// while let Err(error) = &connected
///     && cardcase::connect::wait(error)
/// {
///     connected = connect(&config);
/// }
/// # Ok(connected?) }
/// ```
#[must_use = "it says whether to connect again"]
pub fn wait(error: &(dyn StdError + 'static)) -> bool {
    let Some(asked) = causes(error).find_map(|error| error.downcast_ref::<IsAsked>()) else { return false };
    asked.question.wait();
    true
}

/// [`config`] as a step of rustls's own builder.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use cardcase::connect::ConfigBuilderExt;
/// use cardcase::{Destination, Selector};
/// use rustls::{ClientConfig, RootCertStore};
///
/// # fn example(selector: Arc<Selector>, roots: RootCertStore, broker: Destination) {
/// let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_from(selector, broker);
/// # }
/// ```
pub trait ConfigBuilderExt {
    /// A configuration whose client certificate this selector selects anew in every handshake with this destination.
    fn with_client_auth_from(self, selector: Arc<Selector>, destination: Destination) -> ClientConfig;
}

impl ConfigBuilderExt for ConfigBuilder<ClientConfig, WantsClientCert> {
    fn with_client_auth_from(self, selector: Arc<Selector>, destination: Destination) -> ClientConfig {
        config(selector, destination, &self.with_no_client_auth())
    }
}

/// The resolver and the session store of one configuration.
pub(super) struct Live {
    /// For the threads that ask.
    this: Weak<Self>,
    selector: Arc<Selector>,
    target: Target,
    hosts: Hosts,
    allows_tls12: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What answered the last request.
    last: Option<(CertificateRequest, Arc<Resolver>)>,
    sessions: Sessions,
    /// What was asked, until the store answers it.
    questions: Vec<Arc<Question>>,
}

impl State {
    fn question(&self, about: &About) -> Option<&Arc<Question>> {
        self.questions.iter().find(|question| question.about == *about)
    }

    fn forget(&mut self, about: &About) {
        self.questions.retain(|question| question.about != *about);
    }

    /// Keeps this question in place of an earlier one about the same, and in place of the oldest if there are too many.
    fn keep(&mut self, question: Arc<Question>) {
        self.forget(&question.about);
        if self.questions.len() >= QUESTIONS {
            self.questions.remove(0);
        }
        self.questions.push(question);
    }
}

/// Sessions of connections that were all opened with the same answer to the same request.
#[derive(Default)]
enum Sessions {
    /// No handshake has begun.
    #[default]
    New,
    Kept {
        sessions: Arc<ClientSessionMemoryCache>,
        /// The value of [`Prepared::distrusted`].
        distrusted: u64,
        /// What was asked for and sent; `None` while no server has asked.
        sent: Option<(CertificateRequest, Option<Fingerprint>)>,
    },
    /// There are two answers or two requests, or an authority is no longer trusted. It cannot be told from which connection a session
    /// comes, and an old connection may still bring sessions. So none are resumed any more.
    Ended,
}

impl Sessions {
    fn kept(&self) -> Option<Arc<ClientSessionMemoryCache>> {
        match self {
            Self::Kept { sessions, .. } => Some(sessions.clone()),
            Self::New | Self::Ended => None,
        }
    }

    /// Begins to keep sessions, or ends that if an authority is no longer trusted since.
    fn begin(&mut self, now: u64) {
        match self {
            Self::New => *self = Self::Kept { sessions: memory(), distrusted: now, sent: None },
            Self::Kept { distrusted, .. } if *distrusted == now => {}
            _ => *self = Self::Ended,
        }
    }

    /// Ends if something else is sent than before, or to another request.
    fn note_sent(&mut self, request: &CertificateRequest, answer: Option<Fingerprint>) {
        match self {
            Self::Kept { sent: sent @ None, .. } => *sent = Some((request.clone(), answer)),
            Self::Kept { sent: Some(before), .. } if before.0 == *request && before.1 == answer => {}
            _ => *self = Self::Ended,
        }
    }

    /// Forgets those that were kept so far.
    fn forget(&mut self) {
        if let Self::Kept { sessions, .. } = self {
            *sessions = memory();
        }
    }
}

fn memory() -> Arc<ClientSessionMemoryCache> {
    Arc::new(ClientSessionMemoryCache::new(SESSIONS))
}

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    /// The answer to requests that are alike ([`CertificateRequest::question`]), in any version of TLS.
    Selection(Vec<u8>),
    /// The primary password.
    Password,
}

impl About {
    fn selection(request: &CertificateRequest) -> Self {
        Self::Selection(request.clone().with_version(None).question())
    }
}

/// A question that a person is asked in the background.
#[derive(Debug)]
struct Question {
    about: About,
    outcome: Mutex<Outcome>,
    closed: Condvar,
}

#[derive(Debug)]
enum Outcome {
    Open,
    /// The store does not have this answer: it is valid once, or it answers only the request of one version of TLS.
    Answered(Box<Prepared>),
    /// The store has the answer.
    Stored,
    Failed(Arc<Error>, Instant),
}

impl Question {
    fn new(about: About) -> Arc<Self> {
        Arc::new(Self { about, outcome: Mutex::new(Outcome::Open), closed: Condvar::new() })
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, outcome: Outcome) {
        *self.outcome() = outcome;
        self.closed.notify_all();
    }

    fn wait(&self) {
        drop(self.closed.wait_while(self.outcome(), |outcome| matches!(outcome, Outcome::Open)));
    }
}

/// The error of a handshake whose needs a person is asked for.
#[derive(Debug, thiserror::Error)]
#[error("{needs}")]
struct IsAsked {
    #[source]
    needs: Needs,
    question: Arc<Question>,
}

/// A thread that asks.
struct Asking {
    live: Arc<Live>,
    question: Arc<Question>,
}

impl Drop for Asking {
    /// A thread that could not be started, or that panicked, has no outcome.
    fn drop(&mut self) {
        if matches!(*self.question.outcome(), Outcome::Open) {
            let destination = self.live.target.destination().to_string();
            let reason = "the thread that asks did not end as it should".to_owned();
            self.question.close(failed(Error::ChooserFailed { destination, reason }));
        }
    }
}

fn failed(error: Error) -> Outcome {
    Outcome::Failed(Arc::new(error), Instant::now())
}

impl Live {
    pub(super) fn new(selector: Arc<Selector>, destination: Destination, base: &ClientConfig) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            hosts: Hosts::new(&destination),
            target: destination.into(),
            selector,
            allows_tls12: allows_tls12(base),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers this request now. Asks nobody.
    fn decided(&self, request: &CertificateRequest) -> Result<Prepared, Error> {
        let about = About::selection(request);
        if let Some(known) = self.selector.select_known(&self.target, request)? {
            self.state().forget(&about);
            return Ok(known);
        }
        match self.answered(&about).map(|answer| self.selector.refresh(&answer)).transpose()? {
            Some(prepared) if prepared.selection().is_some() => Ok(prepared),
            _ => self.selector.undecided(self.target.destination()),
        }
    }

    /// The answer to a question that the store does not have. A person's answer is valid once.
    fn answered(&self, about: &About) -> Option<Prepared> {
        let mut state = self.state();
        let answer = match &*state.question(about)?.outcome() {
            Outcome::Answered(answer) => Prepared::clone(answer),
            _ => return None,
        };
        if answer.selection().is_some_and(|selection| selection.source == Source::Ask) {
            state.forget(about);
        }
        Some(answer)
    }

    /// A resolver for what was prepared: the last one, if it would send the same.
    fn resolver(&self, request: CertificateRequest, prepared: Prepared) -> Arc<Resolver> {
        let now = self.selector.now();
        let last = self.state().last.clone();
        // This may ask an agent
        let same = last.map(|(_, resolver)| resolver).filter(|resolver| resolver.prepared().serves(&prepared, now));
        let resolver = same.unwrap_or_else(|| {
            let (this, before, request) = (self.this.clone(), prepared.clone(), request.clone());
            let provide = move |needs: Needs| -> Arc<dyn StdError + Send + Sync> {
                match this.upgrade() {
                    Some(live) => live.provide(&before, &request, needs),
                    None => Arc::new(needs),
                }
            };
            Resolver::with_needs(prepared, LastNeeds::provided_by(Arc::new(provide)))
        });
        let mut state = self.state();
        let prepared = resolver.prepared();
        if let Some(selection) = prepared.selection() {
            state.sessions.note_sent(&request, selection.answer.fingerprint());
        }
        if prepared.key.as_ref().is_some_and(|key| !key.is_locked()) {
            state.forget(&About::Password);
        }
        state.last = Some((request, resolver.clone()));
        resolver
    }

    /// Asks a person, in the background, for what the handshake needs. Returns the error that ends the handshake: it says what is
    /// asked, or why the person did not answer that before.
    fn provide(
        self: &Arc<Self>,
        before: &Prepared,
        request: &CertificateRequest,
        needs: Needs,
    ) -> Arc<dyn StdError + Send + Sync> {
        let about = match &needs {
            Needs::Select(request) => About::selection(request),
            Needs::Unlock => About::Password,
        };
        let mut state = self.state();
        let known = state.question(&about).cloned();
        if let Some(question) = known {
            match &*question.outcome() {
                Outcome::Open => return Arc::new(IsAsked { needs, question: question.clone() }),
                Outcome::Failed(error, at) if is_refusal(error) || at.elapsed() < ASKS_AGAIN => {
                    if matches!(needs, Needs::Unlock) {
                        self.look_for_agent();
                    }
                    return error.clone();
                }
                Outcome::Failed(..) | Outcome::Answered(_) | Outcome::Stored => {}
            }
        }
        let question = Question::new(about);
        state.keep(question.clone());
        drop(state);
        let asking = Asking { live: self.clone(), question: question.clone() };
        let (before, request, asked) = (before.clone(), request.clone(), needs.clone());
        if matches!(needs, Needs::Select(_)) && !self.selector.can_ask() {
            // Then this does not wait for anybody
            asking.ask(&before, &request, &needs);
            return match &*question.outcome() {
                Outcome::Failed(error, _) => error.clone(),
                _ => Arc::new(needs),
            };
        }
        in_background(move || asking.ask(&before, &request, &asked));
        Arc::new(IsAsked { needs, question })
    }

    /// A person who did not want to type the password may have started an agent since.
    fn look_for_agent(&self) {
        let selector = Selector::clone(&self.selector).with_unlocker(Arc::new(NoUnlocker));
        in_background(move || drop(selector.unlock()));
    }

    /// Begins a handshake with this host: reads the store again, which also updates the authorities that verify the server.
    fn begin(&self, name: &ServerName<'_>) {
        self.hosts.note(name);
        if self.hosts.request_from() == RequestFrom::Own
            && let Ok(now) = self.selector.prepare(self.target.clone())
        {
            self.state().sessions.begin(now.distrusted);
        }
    }

    /// Whether a session may be resumed: whether the same would be sent now. If not, those that were kept are forgotten.
    fn may_resume(&self) -> bool {
        let (last, distrusted) = {
            let state = self.state();
            let Sessions::Kept { distrusted, .. } = &state.sessions else { return false };
            (state.last.clone(), *distrusted)
        };
        let answered = last.as_ref().map(|(request, resolver)| (request, resolver.prepared()));
        let may_reuse = self.selector.may_reuse(self.target.destination(), distrusted, answered, &self.target);
        let may_reuse = may_reuse.unwrap_or(false);
        if !may_reuse {
            self.state().sessions.forget();
        }
        may_reuse
    }

    /// The sessions of this host, to add one.
    fn sessions(&self, name: &ServerName<'_>) -> Option<Arc<ClientSessionMemoryCache>> {
        let is_alone = self.hosts.is_own(name) && self.hosts.request_from() == RequestFrom::Own;
        if is_alone { self.state().sessions.kept() } else { None }
    }
}

impl Asking {
    /// Asks, for a handshake that was begun with `before` and answered `request`.
    fn ask(&self, before: &Prepared, request: &CertificateRequest, needs: &Needs) {
        let live = &self.live;
        let outcome = match grant(&live.selector, before, needs) {
            Err(error) => failed(error),
            Ok(prepared) => match needs {
                Needs::Select(_) => match live.selector.select_known(&live.target, request) {
                    Ok(Some(_)) => Outcome::Stored,
                    _ => Outcome::Answered(Box::new(prepared)),
                },
                Needs::Unlock => {
                    // The answer that was valid once was taken for the handshake that ended for want of the password
                    if prepared.selection().is_some_and(|selection| selection.source == Source::Ask) {
                        let again = Question::new(About::selection(request));
                        again.close(Outcome::Answered(Box::new(prepared)));
                        live.state().keep(again);
                    }
                    Outcome::Stored
                }
            },
        };
        self.question.close(outcome);
    }
}

/// Whether a person did not want to answer.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Aborted { .. } | Error::Declined)
}

fn in_background(work: impl FnOnce() + Send + 'static) {
    // If no thread can be started, the work is dropped, and its question fails with it
    let _ = std::thread::Builder::new().name("cardcase".to_owned()).spawn(work);
}

impl ResolvesClientCert for Live {
    fn resolve(&self, root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.hosts.request_from() {
            RequestFrom::Own => {}
            RequestFrom::Other => return None,
            RequestFrom::Either | RequestFrom::Unknown => {
                return Some(failing(self.hosts.error(self.target.destination())));
            }
        }
        let request = CertificateRequest::new(root_hint_subjects, sigschemes);
        let prepared = match self.decided(&request) {
            Ok(prepared) => prepared,
            Err(error) => return Some(failing(error)),
        };
        if let Some(name) = prepared.demands_tls13().filter(|_| self.allows_tls12) {
            // rustls would write the certificate before it asks for the signature
            let reason = "it may be sent in TLS 1.3 only, and this configuration allows TLS 1.2";
            return Some(failing(Error::DoesNotFit { name: name.to_owned(), reason }));
        }
        self.resolver(request, prepared).resolve(root_hint_subjects, sigschemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientSessionStore for Live {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        if let Some(sessions) = self.sessions(&name) {
            sessions.set_kx_hint(name, group);
        }
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.hosts.note(name);
        self.sessions(name)?.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        if let Some(sessions) = self.sessions(&name) {
            sessions.set_tls12_session(name, session);
        }
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        // rustls calls this after take_tls13_ticket, where the handshake begins
        let session = self.sessions(name)?.tls12_session(name)?;
        self.may_resume().then_some(session)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(sessions) = self.sessions(name) {
            sessions.remove_tls12_session(name);
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        if let Some(sessions) = self.sessions(&name) {
            sessions.insert_tls13_ticket(name, ticket);
        }
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.begin(name);
        let ticket = self.sessions(name)?.take_tls13_ticket(name)?;
        self.may_resume().then_some(ticket)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("selector", &self.selector).field("target", &self.target).finish_non_exhaustive()
    }
}

/// Whether a configuration allows TLS 1.2. rustls does not say, but a client hello does: one that allows TLS 1.2 says that renegotiation
/// is safe (RFC 5746 section 3.3).
pub(super) fn allows_tls12(config: &ClientConfig) -> bool {
    let allows = || {
        let mut config = config.clone();
        config.resumption = Resumption::disabled();
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").ok()?).ok()?;
        let mut hello = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut hello).ok()?;
        }
        let mut server = Acceptor::default();
        server.read_tls(&mut hello.as_slice()).ok()?;
        let accepted = server.accept().ok()??;
        Some(accepted.client_hello().cipher_suites().contains(&CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV))
    };
    allows().unwrap_or(true)
}
