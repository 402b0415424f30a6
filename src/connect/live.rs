//! A TLS configuration that lives: for clients that take a [`ClientConfig`] and connect by themselves.
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

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WantsClientCert,
};
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ClientConfig, ClientConnection, ConfigBuilder, NamedGroup, SignatureScheme};

use crate::certificate::Fingerprint;
use crate::connect::hosts::{Asker, Hosts, SESSIONS};
use crate::connect::needs::{Needs, grant};
use crate::connect::refusal::causes;
use crate::connect::resolver::{self, LastNeeds, Resolver, failing};
use crate::error::Error;
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::matching::Reason;
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// `base` for one destination, with a client certificate that is selected anew in every handshake.
///
/// - What is decided at the time of a handshake counts: `remember`, `forget`, a renewal and a lock take effect at the next connection.
///   A session is resumed only if the same would be sent now. Reading the store takes some ten microseconds of the thread that
///   makes the handshake.
/// - If nothing is decided, the handshake fails with [`Cause::Needs`](crate::connect::Cause::Needs), after the server was verified. Then
///   a thread asks the selector's chooser, or its unlocker for the primary password, once, however many connections are attempted
///   meanwhile. A program that does not connect again by itself calls [`wait`]. An answer that is valid once is used for the next
///   connection. If the person aborts, the same question is not asked again: further handshakes fail with [`Error::Aborted`].
/// - It is for the host of `destination` alone. In a handshake with another host it sends no certificate. From then on it sends none
///   to its own host either: [`Error::OtherHost`] says so.
///
/// Prefer a connector of this module where the client can take one. This configuration does not see the stream below the session,
/// so:
///
/// - It is not told the port, and sends the identity to any port of the host, also in chrome mode.
/// - In TLS 1.2, a server that asks while nothing is decided gets an empty Certificate before the connection ends.
/// - An identity that requires TLS 1.3 is sent only if `base` does not allow TLS 1.2.
/// - Rules for a path do not apply, and nothing is recorded in the history. So in chrome mode a refused decision is not forgotten.
pub fn config(selector: Arc<Selector>, destination: Destination, base: &ClientConfig) -> ClientConfig {
    let live = Live::new(selector, destination, base);
    resolver::config(base, live.clone(), Resumption::store(live))
}

/// Waits until the question that an error is about has been answered, and returns `true`: connect again. `false` if the error is not
/// about a question that a configuration of [`config`] asks in the background.
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
    let asked = causes(error).find_map(|error| error.downcast_ref::<Asked>());
    asked.map(|asked| asked.question.wait()).is_some()
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
    /// A person's answer that is valid once.
    once: Option<Prepared>,
    question: Option<Arc<Open>>,
    /// Why a person did not provide this.
    failed: Option<(Needs, Arc<Error>)>,
    sessions: Sessions,
}

/// Sessions of connections that were all opened with the same answer.
#[derive(Default)]
enum Sessions {
    /// No handshake has begun.
    #[default]
    New,
    Kept {
        sessions: Arc<ClientSessionMemoryCache>,
        /// The value of [`Prepared::distrusted`].
        distrusted: u64,
        /// What was sent; `None` while no server has asked.
        sent: Option<Option<Fingerprint>>,
    },
    /// The answer changed, or an authority is no longer trusted. It cannot be told from which connection a session comes, and one that
    /// was opened before may still bring sessions. So none are resumed any more.
    Ended,
}

impl Sessions {
    fn kept(&self) -> Option<Arc<ClientSessionMemoryCache>> {
        match self {
            Self::Kept { sessions, .. } => Some(sessions.clone()),
            Self::New | Self::Ended => None,
        }
    }

    /// Notes how often an authority was found to be no longer trusted.
    fn note_distrusted(&mut self, now: u64) {
        match self {
            Self::New => *self = Self::Kept { sessions: memory(), distrusted: now, sent: None },
            Self::Kept { distrusted, .. } if *distrusted == now => {}
            _ => *self = Self::Ended,
        }
    }

    /// Notes that this is sent.
    fn note_sent(&mut self, answer: Option<Fingerprint>) {
        if let Self::Kept { sent, .. } = self {
            match sent {
                None => *sent = Some(answer),
                Some(before) if *before == answer => {}
                Some(_) => *self = Self::Ended,
            }
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
        if let Some(known) = self.selector.select_known(&self.target, request)? {
            return Ok(known);
        }
        let once = self.state().once.take();
        match once.map(|once| self.selector.refresh(&once)).transpose()? {
            Some(prepared) if prepared.selection().is_some() => Ok(prepared),
            _ => self.selector.undecided(self.target.destination()),
        }
    }

    /// A resolver for what was prepared: the last one, if it would send the same.
    fn resolver(&self, request: CertificateRequest, prepared: Prepared) -> Arc<Resolver> {
        let now = self.selector.now();
        let last = self.state().last.clone();
        // This may ask an agent
        let same = last.map(|(_, resolver)| resolver).filter(|resolver| resolver.prepared().serves(&prepared, now));
        let resolver = same.unwrap_or_else(|| {
            let (this, before) = (self.this.clone(), prepared.clone());
            let provide = move |needs: Needs| -> Arc<dyn StdError + Send + Sync> {
                match this.upgrade() {
                    Some(live) => live.provide(&before, needs),
                    None => Arc::new(needs),
                }
            };
            Resolver::with_needs(prepared, LastNeeds::provided_by(Arc::new(provide)))
        });
        let mut state = self.state();
        if let Some(selection) = resolver.prepared().selection() {
            state.sessions.note_sent(selection.answer.fingerprint());
        }
        state.last = Some((request, resolver.clone()));
        resolver
    }

    /// Has a person asked in the background for what a handshake needed. Returns the error that ends the handshake: it says what is
    /// asked, or that there is nobody to ask, or why the person did not answer that before.
    fn provide(self: &Arc<Self>, before: &Prepared, needs: Needs) -> Arc<dyn StdError + Send + Sync> {
        if matches!(needs, Needs::Select(_)) && !self.selector.can_ask() {
            // This does not wait for anybody
            return match grant(&self.selector, before, &needs) {
                Ok(_) => Arc::new(needs),
                Err(error) => Arc::new(error),
            };
        }
        let mut state = self.state();
        if let Some((_, error)) = state.failed.take_if(|(failed, _)| *failed == needs) {
            if matches!(*error, Error::Aborted { .. } | Error::Declined) {
                state.failed = Some((needs, error.clone()));
            }
            return error;
        }
        if let Some(question) = &state.question {
            return Arc::new(Asked { needs, question: question.clone() });
        }
        let question = Arc::new(Open::default());
        state.question = Some(question.clone());
        drop(state);
        let asking = Asking { live: self.clone(), question: question.clone() };
        let (before, asked) = (before.clone(), needs.clone());
        let ask = move || asking.live.ask(&before, asked);
        // Without a thread nobody is asked, and the next handshake tries again
        let _ = std::thread::Builder::new().name("cardcase asks".to_owned()).spawn(ask);
        Arc::new(Asked { needs, question })
    }

    fn ask(&self, before: &Prepared, needs: Needs) {
        let answer = grant(&self.selector, before, &needs);
        let is_remembered = |request| matches!(self.selector.select_known(&self.target, request), Ok(Some(_)));
        let mut state = self.state();
        match (answer, needs) {
            (Err(error), needs) => state.failed = Some((needs, Arc::new(error))),
            (Ok(prepared), Needs::Select(request)) if !is_remembered(&request) => state.once = Some(prepared),
            (Ok(_), _) => state.failed = None,
        }
    }

    /// Begins a handshake with this host: reads the store again, which also updates the authorities that verify the server.
    /// Returns the sessions that may be resumed.
    fn begin(&self, name: &ServerName<'_>) -> Option<Arc<ClientSessionMemoryCache>> {
        if !self.hosts.note(name) {
            return None;
        }
        let now = self.selector.prepare(self.target.clone()).ok()?;
        let last = {
            let mut state = self.state();
            state.sessions.note_distrusted(now.distrusted);
            state.last.clone()
        };
        let answered = last.as_ref().map(|(request, resolver)| (request, resolver.prepared()));
        let may_reuse = self.selector.may_reuse(self.target.destination(), now.distrusted, answered, &self.target);
        let mut state = self.state();
        if !may_reuse.unwrap_or(false) {
            state.sessions.forget();
        }
        state.sessions.kept()
    }

    /// The sessions of this host, to add one.
    fn sessions(&self, name: &ServerName<'_>) -> Option<Arc<ClientSessionMemoryCache>> {
        if self.hosts.is_own(name) { self.state().sessions.kept() } else { None }
    }
}

/// The error of a handshake whose needs a person is asked for.
#[derive(Debug, thiserror::Error)]
#[error("{needs}")]
struct Asked {
    #[source]
    needs: Needs,
    question: Arc<Open>,
}

/// A question that is open until [`Self::close`].
#[derive(Debug, Default)]
struct Open {
    is_closed: Mutex<bool>,
    closed: Condvar,
}

impl Open {
    fn close(&self) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closed.notify_all();
    }

    fn wait(&self) {
        let is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.closed.wait_while(is_closed, |is_closed| !*is_closed));
    }
}

/// A thread that asks, until it ends, however it ends.
struct Asking {
    live: Arc<Live>,
    question: Arc<Open>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.live.state().question = None;
        self.question.close();
    }
}

impl ResolvesClientCert for Live {
    fn resolve(&self, root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.hosts.asker() {
            Asker::Own => {}
            Asker::Other => return None,
            Asker::Either => return Some(failing(self.hosts.error(self.target.destination()))),
        }
        let request = CertificateRequest::new(root_hint_subjects, sigschemes);
        let prepared = match self.decided(&request) {
            Ok(prepared) => prepared,
            Err(error) => return Some(failing(error)),
        };
        if let Some(name) = prepared.demands_tls13().filter(|_| self.allows_tls12) {
            // rustls would write the certificate before it asks for the signature
            let reason = Reason::RequiresTls13.text();
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
        // rustls took a ticket of TLS 1.3 before, which has read the store
        self.sessions(name)?.tls12_session(name)?;
        self.begin(name)?.tls12_session(name)
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
        self.begin(name)?.take_tls13_ticket(name)
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
    let hello = || -> Option<Vec<u8>> {
        let mut config = config.clone();
        config.resumption = Resumption::disabled();
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").ok()?).ok()?;
        let mut hello = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut hello).ok()?;
        }
        Some(hello)
    };
    let allows = || {
        let mut server = Acceptor::default();
        server.read_tls(&mut hello()?.as_slice()).ok()?;
        let accepted = server.accept().ok()??;
        Some(accepted.client_hello().cipher_suites().contains(&CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV))
    };
    allows().unwrap_or(true)
}
