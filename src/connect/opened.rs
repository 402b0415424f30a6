//! One open connection, and what is known about it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::{AlertDescription, ProtocolVersion};

use crate::answer::decision::Outcome;
use crate::answer::history::version_name;
use crate::answer::refusal::{Refusal, alert_name};
use crate::connect::refusal::alert;
use crate::error::Error;
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::prepared::Prepared;
use crate::select::selection::Selection;
use crate::select::selector::Selector;

/// An open connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<S> {
    /// The stream to read from and to write to.
    pub stream: S,
    /// What is known about the connection.
    pub opened: Opened,
}

/// What is known about one connection: where it goes, what the server asked for, what it was sent and why.
///
/// Clones are handles of the same connection, cheap to make, and outlive it. They also learn what happens later: an alert that
/// ends the connection, and over OpenSSL what a server asks for in the middle of it.
///
/// A client that keeps connections for further requests asks [`Opened::may_be_reused`] before each of them.
#[derive(Clone)]
pub struct Opened {
    shared: Arc<Shared>,
    /// The answer this handle is about; `None` for the latest.
    answer: Option<usize>,
}

struct Shared {
    target: Target,
    /// What the connection was opened with.
    prepared: Option<Prepared>,
    negotiated: OnceLock<Negotiated>,
    answers: Mutex<Vec<Answered>>,
    /// The alert by which the other side ended the connection after the handshake.
    alert: OnceLock<AlertDescription>,
    /// How far the connection got, and what of that is in the history.
    progress: AtomicU8,
    refusal_recorded: AtomicBool,
    closed: AtomicBool,
    #[cfg(feature = "openssl")]
    position: super::http_position::HttpPosition,
}

struct Negotiated {
    version: Option<ProtocolVersion>,
    alpn: Option<Vec<u8>>,
}

/// A request of the server, and what it was answered.
#[derive(Clone)]
pub(super) struct Answered {
    pub(super) selection: Selection,
    pub(super) request: Option<CertificateRequest>,
    pub(super) prepared: Prepared,
    pub(super) mid_connection: bool,
}

/// Nothing was read from the server after the handshake.
const NOTHING_READ: u8 = 0;
/// Something was read. In TLS 1.3 the server has accepted the certificate only then.
const READ: u8 = 1;
/// It is recorded that something was read.
const RECORDED: u8 = 2;

impl Opened {
    /// A connection to a target, begun with what was prepared.
    pub(super) fn new(target: Target, prepared: Option<Prepared>) -> Self {
        let shared = Shared {
            target,
            prepared,
            negotiated: OnceLock::new(),
            answers: Mutex::default(),
            alert: OnceLock::new(),
            progress: AtomicU8::new(NOTHING_READ),
            refusal_recorded: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            #[cfg(feature = "openssl")]
            position: super::http_position::HttpPosition::default(),
        };
        Self { shared: Arc::new(shared), answer: None }
    }

    /// The same connection, once its handshake has negotiated a version of TLS and a protocol.
    pub(super) fn negotiated(&self, version: Option<ProtocolVersion>, alpn: Option<&[u8]>) {
        // A connection negotiates once: a renegotiation keeps both
        let _ = self.shared.negotiated.set(Negotiated { version, alpn: alpn.map(<[u8]>::to_vec) });
    }

    /// Where the connection goes.
    pub fn destination(&self) -> &Destination {
        self.shared.target.destination()
    }

    /// What the connection was opened for.
    pub fn target(&self) -> &Target {
        &self.shared.target
    }

    /// What was sent and why; `None` when the server did not ask.
    pub fn selection(&self) -> Option<Selection> {
        self.answered().map(|answered| answered.selection)
    }

    /// What the server asked for; `None` when it did not ask.
    pub fn request(&self) -> Option<CertificateRequest> {
        self.answered().and_then(|answered| answered.request)
    }

    /// Whether the server asked in the middle of the connection, by renegotiation or after the handshake. Only OpenSSL lets it.
    pub fn is_mid_connection(&self) -> bool {
        self.answered().is_some_and(|answered| answered.mid_connection)
    }

    /// The version of TLS; `None` when the handshake did not get that far.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.shared.negotiated.get().and_then(|negotiated| negotiated.version)
    }

    /// The protocol agreed on by ALPN (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.shared.negotiated.get().and_then(|negotiated| negotiated.alpn.as_deref())
    }

    /// The alert by which the server ended the connection after the handshake, once it was read. HTTP libraries often lose it on
    /// the way to their errors.
    pub fn alert(&self) -> Option<AlertDescription> {
        self.shared.alert.get().copied()
    }

    /// The refusal that the [alert](Self::alert) means, if it means one.
    pub fn refusal(&self) -> Option<Refusal> {
        self.alert().and_then(Refusal::from_alert)
    }

    /// What the connection was opened with, to make another connection for the same request: nobody is asked again, even if
    /// the identity was chosen for once. `None` over OpenSSL when the server did not ask.
    pub fn again(&self) -> Option<Prepared> {
        self.answered().map(|answered| answered.prepared).or_else(|| self.shared.prepared.clone())
    }

    /// Everything that was answered on the connection so far, in order, each with a handle of its own: its
    /// [`selection`](Self::selection), [`request`](Self::request) and [`is_mid_connection`](Self::is_mid_connection) are those of
    /// that answer. Over rustls a server asks at most once; over OpenSSL it may ask several times.
    pub fn answers(&self) -> Vec<Self> {
        let count = self.locked().len();
        (0..count).map(|index| Self { answer: Some(index), ..self.clone() }).collect()
    }

    /// Whether the connection may carry another request, for this target: whether it would be opened with the same answers now.
    /// A choice that was made for once holds for one request only.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub fn may_be_reused(&self, selector: &Selector, target: impl Into<Target>) -> Result<bool, Error> {
        let target = target.into();
        let answers = self.locked().clone();
        if answers.is_empty() {
            return selector.may_reuse(self.destination(), None, &target);
        }
        for Answered { selection, request, .. } in &answers {
            // Without the request nobody can say what would be answered now
            let Some(request) = request else { return Ok(false) };
            if !selector.may_reuse(self.destination(), Some((request, &selection.answer)), &target)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells the connection that the body of an HTTP/1.1 response was read to its end; what is written next is another request.
    /// In chrome mode that decides whether the server may still ask. Over rustls this does nothing: there the server asks in the
    /// handshake only.
    pub fn finished(&self) {
        #[cfg(feature = "openssl")]
        self.shared.position.finished();
    }

    /// Writes to the history what became of the answer. The connectors do that themselves, as far as they see it.
    ///
    /// # Errors
    /// Those of [writing](crate::Store#errors).
    pub fn record(&self, selector: &Selector, outcome: Outcome, alert: Option<AlertDescription>) -> Result<(), Error> {
        let Some(selection) = self.selection() else { return Ok(()) };
        let version = self.version().or_else(|| self.request().and_then(|request| request.version));
        let alert = alert.map(alert_name);
        selector.record(self.destination(), &selection, outcome, alert, version.map(version_name))
    }

    /// Records that the server accepted what it was sent, once for the connection, when something was read from it: in TLS 1.3 a
    /// server that refuses sends an alert instead. A server may also refuse by a page of HTTP, as nginx does
    /// ([`Refusal::from_response`]); do not call this then. Writes to the store; an error of that is ignored.
    pub fn record_success(&self, selector: &Selector) {
        if self.take_success() {
            let _ = self.record(selector, Outcome::Accepted, None);
        }
    }

    /// Records that the server refused what it was sent, if it did so by an alert after the handshake, once for the connection.
    /// In chrome mode a remembered answer is forgotten by that, so that the next request asks. Writes to the store; an error of
    /// that is ignored.
    pub fn record_refusal(&self, selector: &Selector) {
        if self.refusal().is_some() && !self.shared.refusal_recorded.swap(true, Ordering::AcqRel) {
            let _ = self.record(selector, Outcome::Refused, self.alert());
        }
    }

    /// Whether something was read and nobody has recorded that yet. Only one caller gets `true`.
    pub(super) fn take_success(&self) -> bool {
        let progress = &self.shared.progress;
        progress.compare_exchange(READ, RECORDED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Notes that something was read from the server after the handshake.
    pub(super) fn note_read(&self) {
        // Each read comes here; only the first one changes something
        let progress = &self.shared.progress;
        let _ = progress.compare_exchange(NOTHING_READ, READ, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Notes the alert in an error that ended the connection.
    pub(super) fn note_alert(&self, error: &io::Error) {
        if let Some(alert) = alert(error) {
            // Only the first can have ended the connection
            let _ = self.shared.alert.set(alert);
        }
    }

    /// Notes what the server was answered.
    pub(super) fn note_answer(&self, answered: Answered) {
        self.locked().push(answered);
    }

    /// Where the HTTP/1.1 exchange on the connection is.
    #[cfg(feature = "openssl")]
    pub(super) fn position(&self) -> &super::http_position::HttpPosition {
        &self.shared.position
    }

    /// Whether the stream of the connection still exists.
    #[cfg(feature = "hyper")]
    pub(super) fn is_open(&self) -> bool {
        !self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether this is a handle of the same connection.
    #[cfg(feature = "hyper")]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    fn answered(&self) -> Option<Answered> {
        let answers = self.locked();
        match self.answer {
            Some(index) => answers.get(index).cloned(),
            None => answers.last().cloned(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (destination, selection) = (self.destination(), self.selection());
        f.debug_struct("Opened")
            .field("destination", destination)
            .field("selection", &selection)
            .finish_non_exhaustive()
    }
}

/// The part of a stream that tells its [`Opened`] when the stream is gone.
#[derive(Debug)]
pub(super) struct Open(pub(super) Opened);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.closed.store(true, Ordering::Release);
    }
}
