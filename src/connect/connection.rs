//! What an open connection is, and why there is none: the same for every connector.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::{AlertDescription, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};

use crate::answer::decision::{Answer, Outcome};
use crate::answer::history::version_name;
use crate::answer::refusal::Refusal;
use crate::clock::Timestamp;
use crate::connect::guarded::Trace;
use crate::connect::refusal::{alert, refusal};
use crate::connect::resolver::{Resolver, invalid_certificate};
use crate::error::Error;
use crate::request::{CertificateRequest, Destination};
use crate::select::selector::{Prepared, Selection, Selector, Standing};

/// Connections made for one call: the first, one after asking, one after unlocking, and one more for a server that asks for
/// something else meanwhile.
pub(super) const ATTEMPTS: usize = 4;

/// Destinations whose sessions are kept for resumption.
const KEPT: usize = 256;

/// An open connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<S> {
    /// The stream to speak through.
    pub stream: S,
    /// What was sent and why; `None` when the server never asked.
    pub selection: Option<Selection>,
    /// What the server asked for, if it did.
    pub request: Option<CertificateRequest>,
    /// For whoever keeps the connection for another request: [`Selector::stands`].
    pub standing: Standing,
    /// The protocol agreed on by ALPN (RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// The version of TLS.
    pub version: Option<ProtocolVersion>,
    /// The alert that comes later, if one does. HTTP libraries lose it on the way to their errors.
    pub alert: LateAlert,
    prepared: Prepared,
    pub(super) heard: Heard,
}

impl<S> Connection<S> {
    /// What it was opened with, for another connection that is made for the same request: where that does not come to its end
    /// on this one, nobody is asked again, even if it was chosen for once.
    pub fn again(&self) -> Prepared {
        self.prepared.clone()
    }
}

impl<S> Connection<Watched<S>> {
    /// Over a stream whose handshake is done.
    pub(super) fn new(stream: S, tls: impl FnOnce(&S) -> &ClientConnection, begun: &Kept, trace: &Trace) -> Self {
        let Kept { resolver, prepared, .. } = begun;
        let tls = tls(&stream);
        let (alert, heard) = (LateAlert::default(), Heard::default());
        // A resumed session stands for the identity that began it, without another request
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed) && resolver.was_asked();
        let asked = resumed || trace.was_asked();
        let version = tls.protocol_version();
        let selection = resolver.prepared().selection().filter(|_| asked).cloned();
        let request = resolver.request().filter(|_| asked).map(|request| CertificateRequest { version, ..request });
        let answered = request.clone().zip(selection.as_ref().map(|selection| selection.answer.clone()));
        Self {
            standing: Standing::new(prepared.destination().clone(), answered),
            selection,
            request,
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            version,
            alert: alert.clone(),
            stream: Watched { stream, write_error: None, alert, heard: heard.clone() },
            heard,
            prepared: prepared.clone(),
        }
    }
}

/// The alert by which the other side ended a connection after the handshake.
#[derive(Clone, Debug, Default)]
pub struct LateAlert(Arc<OnceLock<AlertDescription>>);

impl LateAlert {
    /// The alert, once it was read.
    pub fn get(&self) -> Option<AlertDescription> {
        self.0.get().copied()
    }

    /// The refusal that the alert is, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        self.get().and_then(Refusal::of_alert)
    }

    pub(super) fn note(&self, error: &io::Error) {
        if let Some(alert) = alert(error) {
            // Only the first can have ended the connection
            let _ = self.0.set(alert);
        }
    }
}

/// Whether the server went on after the handshake, and what of that is recorded. In TLS 1.3 the handshake is not over before
/// something comes that is no alert.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<(AtomicU8, AtomicBool)>);

impl Heard {
    const NOTHING: u8 = 0;
    const DATA: u8 = 1;
    const RECORDED: u8 = 2;

    pub(super) fn note(&self) {
        // Each read comes here: the first one changes something
        let _ = self.0.0.compare_exchange(Self::NOTHING, Self::DATA, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether nobody has recorded yet that it refused: of all who ask one records it.
    pub(super) fn take_refusal(&self) -> bool {
        !self.0.1.swap(true, Ordering::AcqRel)
    }

    /// Whether it is of the same connection.
    #[cfg(feature = "hyper")]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the connection still is somewhere besides here.
    #[cfg(feature = "hyper")]
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether it went on and nobody has recorded that yet: of all who ask one records it.
    pub(super) fn take(&self) -> bool {
        self.0.0.compare_exchange(Self::DATA, Self::RECORDED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Dialling, or the TLS handshake, failed. [`crate::raw::refusal`] tells whether the server refused the identity (choose
    /// another: [`Selector::select_again`]), [`crate::raw::failure`] whether the identity's key could not be used,
    /// [`crate::raw::invalid_certificate`] whether the server cannot be verified. `sent` is what the server was answered,
    /// if it asked.
    #[error("{source}")]
    Handshake {
        /// What went wrong.
        source: io::Error,
        /// What was sent and why, when the server asked, was verified, and was answered.
        sent: Option<Selection>,
        /// What the server asked for, when it was answered.
        request: Option<CertificateRequest>,
        /// The version of TLS, where an identity was sent.
        version: Option<ProtocolVersion>,
    },
    /// The selection failed, and nothing was sent; each of its variants says what to do.
    #[error(transparent)]
    Selection(#[from] Error),
}

impl ConnectError {
    pub(super) fn unsent(source: io::Error) -> Self {
        Self::Handshake { source, sent: None, request: None, version: None }
    }

    /// Of a handshake that went as far as the trace tells.
    pub(super) fn after(source: io::Error, resolver: &Resolver, trace: &Trace) -> Self {
        let selection = resolver.prepared().selection();
        let sent = selection.filter(|selection| match selection.answer {
            Answer::Identity(_) => trace.signed().is_some(),
            Answer::None => trace.was_answered() && invalid_certificate(&source).is_none(),
        });
        // A server that answers our answer within the handshake speaks TLS 1.2: in 1.3 it is over by then
        let version = trace.signed().or(alert(&source).filter(|_| sent.is_some()).map(|_| ProtocolVersion::TLSv1_2));
        let request = sent.and_then(|_| resolver.request()).map(|request| CertificateRequest { version, ..request });
        Self::Handshake { sent: sent.cloned(), request, version, source }
    }
}

impl<S> Connection<S> {
    /// Records that the server accepted what it was sent, once for the connection, when something was read from it: in TLS 1.3 a
    /// server that refuses says so in place of that. For a server that refuses by a page of HTTP, as nginx does, it is for the
    /// caller to tell. Writes to the store; that it cannot is passed over.
    pub fn record_success(&self, selector: &Selector) {
        if self.heard.take() {
            record_success(selector, self.standing.destination(), self.selection.as_ref(), self.version);
        }
    }

    /// Records that the server refused what it was sent, if it did so by a later alert, once for the connection. In chrome mode a
    /// remembered answer is forgotten by that, so that the next request asks. Writes to the store; that it cannot is passed over.
    pub fn record_refusal(&self, selector: &Selector) {
        let refusal = self.alert.refusal();
        if refusal.is_some() && self.heard.take_refusal() {
            record_refusal(selector, self.standing.destination(), self.selection.as_ref(), refusal, self.version);
        }
    }
}

/// Records that a server accepted what it was sent, if it was sent anything.
pub(super) fn record_success(
    selector: &Selector,
    destination: &Destination,
    sent: Option<&Selection>,
    version: Option<ProtocolVersion>,
) {
    let Some(selection) = sent else { return };
    // Nor is it a reason to fail what went well
    let _ = selector.record(destination, selection, Outcome::Accepted, None, version.map(version_name));
}

/// Records that a server refused what it was sent, if it did and was sent anything.
pub(super) fn record_refusal(
    selector: &Selector,
    destination: &Destination,
    sent: Option<&Selection>,
    refusal: Option<Refusal>,
    version: Option<ProtocolVersion>,
) {
    let Some((selection, refusal)) = sent.zip(refusal) else { return };
    // History that cannot be written is no reason to tell less of the refusal
    let _ = selector.record(destination, selection, Outcome::Refused, refusal.alert_name(), version.map(version_name));
}

impl ConnectError {
    /// Records that the server refused what it was sent in the handshake, if it did. In chrome mode a remembered answer is
    /// forgotten by that, so that the next request asks. Writes to the store; that it cannot is passed over.
    pub fn record_refusal(&self, selector: &Selector, destination: &Destination) {
        if let Self::Handshake { source, sent, version, .. } = self {
            record_refusal(selector, destination, sent.as_ref(), refusal(source), *version);
        }
    }
}

/// The resolvers of a connector, one per destination.
#[derive(Debug, Default)]
pub(super) struct Resolvers(Mutex<HashMap<Destination, Kept>>);

/// The resolver of a destination, with the configuration that holds its sessions.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) resolver: Arc<Resolver>,
    pub(super) config: Arc<ClientConfig>,
    /// What a connection is begun with: for its own path, which need not be that of the resolver.
    pub(super) prepared: Prepared,
}

impl Resolvers {
    /// The resolver used before, as long as it does; else a new one, with no sessions to resume.
    pub(super) fn kept(&self, prepared: Prepared, base: &ClientConfig, now: Timestamp) -> Kept {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |kept: &&Kept| kept.resolver.prepared().serves(&prepared, now);
        if let Some(same) = kept.get(prepared.destination()).filter(serves) {
            let Kept { resolver, config, prepared: same } = same.clone();
            return Kept { resolver, config, prepared: same.toward(prepared.target().clone()) };
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let destination = prepared.destination().clone();
        let resolver = Resolver::new(prepared.clone());
        let config = Arc::new(resolver.config(base));
        let new = Kept { resolver, config, prepared };
        kept.insert(destination, new.clone());
        new
    }
}

/// A stream on which the server's last word is not lost.
///
/// In TLS 1.3 a refusal arrives after the handshake, while the client already writes its request. When the server has
/// closed by then, writing fails with a broken pipe, and the alert that says why waits unread. So a failed write reads
/// first, and reports the alert if there is one.
#[derive(Debug)]
pub struct Watched<S> {
    pub(super) stream: S,
    pub(super) write_error: Option<io::ErrorKind>,
    pub(super) alert: LateAlert,
    pub(super) heard: Heard,
}

impl<S> Watched<S> {
    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside, to be changed but neither read nor written.
    #[cfg(feature = "ureq")]
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

/// Whether writing failed since the other side has closed.
pub(super) fn closed(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
}

/// A stream on which a handshake hears the server out.
///
/// A server that refuses a certificate in TLS 1.2 sends its alert and hangs up, perhaps before the rest of the client's
/// flight is written. Until the handshake is done, a write that fails so is taken for written: the alert is read next, or
/// the end, and then the failure is told.
#[derive(Debug)]
pub struct Patient<S> {
    pub(super) stream: S,
    shaking: bool,
    pub(super) unsent: Option<io::ErrorKind>,
}

impl<S> Patient<S> {
    /// The stream inside, to be changed but neither read nor written.
    #[cfg(feature = "ureq")]
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(super) fn new(stream: S) -> Self {
        Self { stream, shaking: true, unsent: None }
    }

    /// The handshake is done: from here on a write that fails has failed.
    pub(super) fn relax(&mut self) {
        self.shaking = false;
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    pub(super) fn written(&mut self, done: io::Result<usize>, whole: usize) -> io::Result<usize> {
        match done {
            Err(error) if self.shaking && closed(error.kind()) => {
                self.unsent = Some(error.kind());
                Ok(whole)
            }
            done => done,
        }
    }
}
