//! One open connection, and what is known about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::{AlertDescription, ProtocolVersion};

use crate::answer::decision::Outcome;
use crate::answer::history::version_name;
use crate::answer::refusal::{Refusal, alert_name, is_about_certificate};
use crate::connect::guarded::Trace;
use crate::connect::refusal::{alert, is_hang_up};
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
    /// The value of [`Prepared::distrusted`] when the server was verified.
    distrusted: u64,
    negotiated: OnceLock<Negotiated>,
    /// The name of the cipher suite, over OpenSSL.
    cipher: OnceLock<&'static str>,
    answers: Mutex<Vec<Answered>>,
    /// How the other side ended the connection.
    end: OnceLock<End>,
    /// Whether the connection is more than a handshake that was done in advance.
    used: AtomicBool,
    /// Whether nothing was read since the server got its last answer.
    unheard: AtomicBool,
    /// What is known from the stream below a session of rustls.
    trace: OnceLock<Arc<Trace>>,
    /// How far the connection got, and what of that is in the history.
    progress: AtomicU8,
    refusal_recorded: AtomicBool,
    closed: AtomicBool,
    #[cfg(feature = "openssl")]
    position: super::http_position::HttpPosition,
}

/// How the other side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Alert(AlertDescription),
    /// Without an alert: by a reset or, with or without close_notify, the end of its stream.
    HungUp,
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
    /// A connection that begins with what was prepared, to its target.
    pub(super) fn new(prepared: Prepared) -> Self {
        let (target, distrusted) = (prepared.target().clone(), prepared.distrusted);
        Self::begun(target, distrusted, Some(prepared))
    }

    /// A connection for which nothing was prepared. `distrusted` is as in [`Prepared::distrusted`].
    #[cfg(any(feature = "openssl", all(test, feature = "hyper")))]
    pub(super) fn unprepared(target: Target, distrusted: u64) -> Self {
        Self::begun(target, distrusted, None)
    }

    fn begun(target: Target, distrusted: u64, prepared: Option<Prepared>) -> Self {
        let shared = Shared {
            target,
            prepared,
            distrusted,
            negotiated: OnceLock::new(),
            cipher: OnceLock::new(),
            answers: Mutex::default(),
            end: OnceLock::new(),
            used: AtomicBool::new(false),
            unheard: AtomicBool::new(true),
            trace: OnceLock::new(),
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

    /// The same connection, with what is known from the stream below its session.
    pub(super) fn traced(&self, trace: Arc<Trace>) {
        let _ = self.shared.trace.set(trace);
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

    /// The name of the cipher suite of a connection over OpenSSL, as OpenSSL writes it: `ECDHE-ECDSA-AES128-SHA256`. It is known
    /// once the server has asked, or the handshake is done. `None` for rustls.
    pub fn cipher(&self) -> Option<&'static str> {
        self.shared.cipher.get().copied()
    }

    /// Notes the cipher suite.
    #[cfg(feature = "openssl")]
    pub(super) fn note_cipher(&self, name: &'static str) {
        let _ = self.shared.cipher.set(name);
    }

    /// The protocol agreed on by ALPN (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.shared.negotiated.get().and_then(|negotiated| negotiated.alpn.as_deref())
    }

    /// The alert by which the server ended the connection, once it was read. HTTP libraries often lose it on the way to their
    /// errors.
    pub fn alert(&self) -> Option<AlertDescription> {
        match self.shared.end.get() {
            Some(End::Alert(alert)) => Some(*alert),
            _ => None,
        }
    }

    /// How the server refused this answer, if it did: it asked, was answered, and ended the connection in place of a response,
    /// by any alert or without one. Once something was read, only an alert that is about a certificate is a refusal. A server
    /// that wants to [renegotiate](Self::renegotiates) has not refused.
    pub fn refusal(&self) -> Option<Refusal> {
        let count = self.locked().len();
        // A server that asks again has accepted the answer before
        let is_last = count > 0 && self.answer.is_none_or(|index| index + 1 == count);
        let end = self.shared.end.get().filter(|_| is_last && !self.renegotiates())?;
        let unheard = self.shared.unheard.load(Ordering::Acquire);
        match *end {
            End::Alert(alert) => (unheard || is_about_certificate(alert)).then_some(Refusal::Alert(alert)),
            // A server may close a connection that nobody uses
            End::HungUp => (unheard && self.is_used()).then_some(Refusal::HungUp),
        }
    }

    /// Whether the server wants to renegotiate (TLS 1.2), as some do to ask for a certificate once they have read the request.
    /// rustls declines. If the server wants that in place of a response, reading fails at once; another connection over
    /// OpenSSL can go on.
    pub fn renegotiates(&self) -> bool {
        self.version() == Some(ProtocolVersion::TLSv1_2)
            && self.shared.trace.get().is_some_and(|trace| trace.renegotiates())
    }

    /// Notes the error that ended the connection before anything was read: for programs that make their TLS connections
    /// themselves. The connectors do that. [`Self::refusal`] then says whether the server refused.
    pub fn ended_by(&self, error: &(dyn StdError + 'static)) {
        self.note_used();
        self.note_error(error);
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

    /// Whether the connection may carry another request, for this target. It may if it would be opened with the same answers now, if
    /// the vault of its identity is open, and if the store has not stopped trusting any authority since. A choice that was made for
    /// once is valid for one request only.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub fn may_be_reused(&self, selector: &Selector, target: impl Into<Target>) -> Result<bool, Error> {
        let target = target.into();
        let may_reuse = self.with_each_answer(|answered| {
            selector.may_reuse(self.destination(), self.shared.distrusted, answered, &target).map(Some)
        });
        Ok(may_reuse? == Some(true))
    }

    /// [`Self::may_be_reused`] for a request to its own destination, if it can answer without waiting.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    #[cfg(feature = "hyper")]
    pub(super) fn may_be_reused_unchanged(&self, selector: &Selector) -> Result<Option<bool>, Error> {
        self.with_each_answer(|answered| {
            selector.may_reuse_unchanged(self.destination(), self.shared.distrusted, answered)
        })
    }

    /// Whether `may_reuse` allows it for everything that was answered on the connection.
    fn with_each_answer(
        &self,
        may_reuse: impl Fn(Option<(&CertificateRequest, &Prepared)>) -> Result<Option<bool>, Error>,
    ) -> Result<Option<bool>, Error> {
        let answers = self.locked().clone();
        if answers.is_empty() {
            return may_reuse(None);
        }
        for Answered { request, prepared, .. } in &answers {
            // Without the request nobody can say what would be answered now
            let Some(request) = request else { return Ok(Some(false)) };
            match may_reuse(Some((request, prepared)))? {
                Some(true) => {}
                other => return Ok(other),
            }
        }
        Ok(Some(true))
    }

    /// Tells the connection that the body of an HTTP/1.1 response was read to its end; what is written next is another request.
    /// In chrome mode that decides whether the server may still ask. Over rustls this does nothing: there the server asks in the
    /// handshake only.
    pub fn finished(&self) {
        #[cfg(feature = "openssl")]
        self.shared.position.finished();
    }

    /// Writes to the history what became of the answer: a refusal now, everything else [in the background](crate::Store::flush). The
    /// connectors do that themselves, as far as they see it.
    ///
    /// # Errors
    /// For a refusal, those of [writing](crate::Store#errors). [`Io`](crate::Error::Io) when other users can enter the directory of the
    /// session.
    pub fn record(&self, selector: &Selector, outcome: Outcome, alert: Option<AlertDescription>) -> Result<(), Error> {
        let Some(selection) = self.selection() else { return Ok(()) };
        let version = self.version().or_else(|| self.request().and_then(|request| request.version));
        let alert = alert.map(alert_name);
        selector.record(self.destination(), &selection, outcome, alert, version.map(version_name))
    }

    /// Records that the server accepted what it was sent, once for the connection, when something was read from it: in TLS 1.3 a
    /// server that refuses sends an alert instead. A server may also refuse by a page of HTTP, as nginx does
    /// ([`Refusal::from_response`]); do not call this then. It is written [in the background](crate::Store::flush).
    pub fn record_success(&self, selector: &Selector) {
        if self.take_success() {
            let _ = self.record(selector, Outcome::Accepted, None);
        }
    }

    /// Records that the server [refused](Self::refusal) what it was sent, if it did, once for the connection.
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
        // Each read comes here; only the first one after an answer changes something
        let progress = &self.shared.progress;
        let _ = progress.compare_exchange(NOTHING_READ, READ, Ordering::AcqRel, Ordering::Relaxed);
        self.shared.unheard.store(false, Ordering::Release);
        if let Some(trace) = self.shared.trace.get() {
            trace.note_awaited(false);
        }
    }

    /// Notes that the connection was made for a request, which may not be written yet.
    pub(super) fn note_used(&self) {
        self.shared.used.store(true, Ordering::Release);
    }

    /// Notes that something was written after the handshake.
    pub(super) fn note_written(&self) {
        self.note_used();
        if let Some(trace) = self.shared.trace.get() {
            trace.note_awaited(true);
        }
    }

    /// Notes how the other side ended the connection, if it did so by this error. Only the first can have ended it.
    pub(super) fn note_error(&self, error: &(dyn StdError + 'static)) {
        match alert(error) {
            Some(alert) => drop(self.shared.end.set(End::Alert(alert))),
            None if is_hang_up(error) => self.note_hang_up(),
            None => {}
        }
    }

    /// Notes that the other side ended the connection without an alert.
    pub(super) fn note_hang_up(&self) {
        let _ = self.shared.end.set(End::HungUp);
    }

    /// Notes what the server was answered.
    pub(super) fn note_answer(&self, answered: Answered) {
        self.shared.unheard.store(true, Ordering::Release);
        self.locked().push(answered);
    }

    fn is_used(&self) -> bool {
        self.is_mid_connection() || self.shared.used.load(Ordering::Acquire)
    }

    /// Whether the other side ended the connection by an alert, or refused.
    #[cfg(feature = "hyper")]
    pub(super) fn is_ended(&self) -> bool {
        self.alert().is_some() || self.refusal().is_some()
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
