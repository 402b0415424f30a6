//! The resolver for rustls: one for each destination, and the two-phase handshake.
//!
//! rustls asks a [`ResolvesClientCert`] before it has verified the server, on a thread that must not wait for a person.
//! So an undecided [`Resolver`] records the request and answers with a key whose signature fails. rustls wants that
//! signature only once the server's certificate and signature were verified: the handshake ends with [`Needs`] in its
//! error, and over a stream from [`Resolver::guard`] nothing of ours has been sent. Provide what
//! it needs ([`Selector::select`] or [`Selector::unlock`]) on a thread that may block, and connect again with the result. A
//! server that does not ask never notices.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use std::sync::Arc;
//!
//! use cardcase::{Destination, Selector};
//! use cardcase::raw::Resolver;
//! use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
//!
//! let base = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
//!     .with_safe_default_protocol_versions()?
//!     .with_root_certificates(RootCertStore::empty())
//!     .with_no_client_auth();
//! let selector = Selector::new(store);
//! let resolver = Resolver::new(selector.prepare("intranet.example.com".parse::<Destination>()?)?);
//! // For every connection to that destination, until the selector decides
//! let config = resolver.config(&base);
//! assert!(config.client_auth_cert_resolver.has_certs());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The whole sequence is in [`connect`](crate::connect).
//!
//! [`Selector::select`]: crate::Selector::select
//! [`Selector::unlock`]: crate::Selector::unlock

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, OtherError, ProtocolVersion, SignatureAlgorithm, SignatureScheme};

use crate::answer::decision::Answer;
use crate::certificate::Certificate;
use crate::certificate::identity::Identity;
use crate::clock::Timestamp;
use crate::connect::guarded::{Guarded, Trace};
use crate::connect::hosts::{Hosts, RequestFrom, Sessions};
use crate::connect::needs::Needs;
use crate::connect::opened::{Answered, Opened};
use crate::connect::refusal::failure;
use crate::error::Error;
use crate::request::CertificateRequest;
use crate::select::matching::{Reason, common_scheme, reasons};
use crate::select::prepared::{GuardedKey, Prepared};
use crate::select::selection::Source;

/// Answers the certificate requests of one destination, from memory only.
pub struct Resolver {
    prepared: Prepared,
    key: Option<StoredKey>,
    asked: AtomicBool,
    id: u64,
    needs: LastNeeds,
    hosts: Arc<Hosts>,
    last: Mutex<Option<(CertificateRequest, Option<Arc<CertifiedKey>>)>>,
}

impl Resolver {
    /// A resolver that answers with what was prepared. Make one per destination, and a new one for every other answer: rustls
    /// resumes a session only with the same resolver.
    #[must_use]
    pub fn new(prepared: Prepared) -> Arc<Self> {
        Self::with_needs(prepared, LastNeeds::default())
    }

    /// The same, which reports the needs of its handshakes there.
    pub(super) fn with_needs(prepared: Prepared, needs: LastNeeds) -> Arc<Self> {
        let id = next_id();
        let key = match (&prepared.selection, &prepared.key) {
            (Some(selection), Some(key)) => match &selection.answer {
                Answer::Identity(identity) => Some(StoredKey(Arc::new(Stored {
                    resolver: id,
                    needs: needs.clone(),
                    certificate: identity.certificate().clone(),
                    key: key.clone(),
                    opened: OnceLock::new(),
                }))),
                Answer::None => None,
            },
            _ => None,
        };
        let hosts = Arc::new(Hosts::new(prepared.destination()));
        Arc::new(Self { prepared, key, asked: AtomicBool::new(false), id, needs, hosts, last: Mutex::default() })
    }

    /// `base` with this resolver, and with a separate session store, so that no session passes from one identity to another.
    ///
    /// Use it for the host of the destination alone, and leave its `resumption` as it is. Once it was used for another host, it sends no
    /// identity any more, to either: [`Error::OtherHost`].
    #[must_use]
    pub fn config(self: &Arc<Self>, base: &ClientConfig) -> ClientConfig {
        config(base, self.clone(), Sessions::resumption(self.hosts.clone()))
    }

    /// What it was made with.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The stream for one connection of this resolver, to be put below its TLS session. It says what happened on that
    /// connection, and writes nothing once a signature was withheld: [`Guarded`] says why.
    pub fn guard<S>(&self, stream: S) -> Guarded<S> {
        Guarded::new(stream, self.id)
    }

    /// Whether a server asked for a certificate, on any connection of this resolver.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The last request of a server.
    pub fn request(&self) -> Option<CertificateRequest> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(request, _)| request.clone())
    }

    /// What the last handshake of this resolver needed when it ended. For libraries that drop the cause of an error, as quinn
    /// does; only for a resolver with a single connection.
    pub fn needs(&self) -> Option<Needs> {
        self.needs.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known about the connections of this resolver: what the server asked for last, and what it was answered. A program
    /// that keeps such a connection asks [`Opened::may_be_reused`] before each further request.
    pub fn opened(&self) -> Opened {
        let opened = Opened::new(self.prepared.clone());
        if self.was_asked() {
            self.note_answer(&opened, self.prepared.clone(), None);
        }
        opened
    }

    /// Notes what was answered on a connection that was begun with `prepared`, whose server asked.
    pub(super) fn note_answer(&self, opened: &Opened, prepared: Prepared, version: Option<ProtocolVersion>) {
        let Some(selection) = self.prepared.selection().cloned() else { return };
        let request = self.request().map(|request| CertificateRequest { version, ..request });
        opened.note_answer(Answered { selection, request, prepared, mid_connection: false });
    }

    /// Whether what was prepared answers this request, as far as rustls shows it to `resolve`.
    fn is_for(&self, request: &CertificateRequest) -> bool {
        self.prepared.request.as_ref().is_none_or(|only| only.names_the_same(request))
    }

    fn stand_in(&self, why: Why) -> Arc<CertifiedKey> {
        certified(StandIn { resolver: self.id, needs: self.needs.clone(), why })
    }

    fn answer(&self, request: &CertificateRequest) -> Option<Arc<CertifiedKey>> {
        let stand_in = |why| Some(self.stand_in(why));
        let undecided = || stand_in(Why::Undecided(request.clone()));
        let Some(selection) = self.prepared.selection.as_ref().filter(|_| self.is_for(request)) else {
            return undecided();
        };
        let Answer::Identity(identity) = &selection.answer else {
            return None;
        };
        let (certificate, key) = (identity.certificate(), self.key.clone()?);

        let authorities = &self.prepared.authorities;
        let requested = (!request.authorities.is_empty()).then(|| authorities.requested(&request.authorities));
        let reasons = reasons(identity, requested.as_ref(), request);
        // An identity that was given is sent whatever the server asks for. But the signature has to be possible, or rustls
        // would silently send an empty Certificate
        if selection.source == Source::Given {
            if reasons.contains(&Reason::NoCommonSignatureScheme) {
                return stand_in(does_not_fit(identity, Reason::NoCommonSignatureScheme));
            }
        } else if !reasons.is_empty() {
            return undecided();
        }

        // In TLS 1.2 rustls sends the certificate before it asks for the signature
        if key.is_locked() {
            return stand_in(Why::Locked);
        }
        match key.0.key.check() {
            Ok(()) => {}
            Err(Error::VaultLocked) => return stand_in(Why::Locked),
            Err(error) => return stand_in(Why::Failed(Arc::new(error))),
        }
        let chain = authorities.chain(certificate, requested.as_ref());
        let sent = std::iter::once(certificate).chain(chain.intermediates());
        let der = sent.map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
        let key: Arc<dyn SigningKey> = if self.prepared.requires_tls13 {
            let why = match selection.source {
                Source::Given => does_not_fit(identity, Reason::RequiresTls13),
                _ => Why::Undecided(request.clone()),
            };
            Arc::new(Tls13Only { key, otherwise: StandIn { resolver: self.id, needs: self.needs.clone(), why } })
        } else {
            Arc::new(key)
        };
        Some(Arc::new(CertifiedKey::new(der, key)))
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Release);
        if let Some(trace) = Trace::current(self.id) {
            trace.note_asked();
        }
        match self.hosts.request_from() {
            // Without a session store of `Self::config`, the caller ensures that this is used for one host
            RequestFrom::Own | RequestFrom::Unknown => {}
            RequestFrom::Other => return None,
            RequestFrom::Either => {
                let error = Arc::new(self.hosts.error(self.prepared.destination()));
                return Some(self.stand_in(Why::Failed(error)));
            }
        }
        let request = CertificateRequest::new(root_hint_subjects, sigschemes);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, answer)) = &*last
            && *before == request
        {
            return answer.clone();
        }
        // Unlocking, which may happen meanwhile, changes the answer. That an agent has gone shows only when it is asked
        let is_locked = || self.key.as_ref().is_some_and(StoredKey::is_locked);
        let was_locked = is_locked();
        let answer = self.answer(&request);
        if !was_locked && !is_locked() {
            *last = Some((request, answer.clone()));
        }
        answer
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("selection", &self.prepared.selection).finish_non_exhaustive()
    }
}

/// `base` with this resolver and these sessions.
pub(super) fn config(
    base: &ClientConfig,
    resolver: Arc<dyn ResolvesClientCert>,
    resumption: Resumption,
) -> ClientConfig {
    let mut config = base.clone();
    config.resumption = resumption;
    config.client_auth_cert_resolver = resolver;
    config.time_provider = Arc::new(SinceEpoch { clock: Timestamp::now, provider: config.time_provider.clone() });
    config
}

/// A key that ends the handshake with this error, once the server is verified.
pub(super) fn failing(error: Error) -> Arc<CertifiedKey> {
    let why = Why::Failed(Arc::new(error));
    certified(StandIn { resolver: next_id(), needs: LastNeeds::default(), why })
}

fn certified(stand_in: StandIn) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey::new(Vec::new(), Arc::new(stand_in)))
}

/// Tells the streams of one resolver from those of another.
fn next_id() -> u64 {
    static IDS: AtomicU64 = AtomicU64::new(0);
    IDS.fetch_add(1, Ordering::Relaxed)
}

/// What the keys of a resolver needed when they ended the last handshake, and who is told.
#[derive(Clone, Default)]
pub(super) struct LastNeeds {
    last: Arc<Mutex<Option<Needs>>>,
    provide: Option<Provide>,
}

/// Provides what a handshake needed, for those after it. It is called on the thread that drives the handshake, which must not wait.
/// Returns the error that ends the handshake.
pub(super) type Provide = Arc<dyn Fn(Needs) -> Arc<dyn StdError + Send + Sync> + Send + Sync>;

impl LastNeeds {
    pub(super) fn provided_by(provide: Provide) -> Self {
        Self { last: Arc::default(), provide: Some(provide) }
    }

    /// The error that ends a handshake with these needs.
    fn end(&self, needs: Needs) -> rustls::Error {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(needs.clone());
        other(match &self.provide {
            Some(provide) => provide(needs),
            None => Arc::new(needs),
        })
    }
}

impl fmt::Debug for LastNeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastNeeds").field("last", &self.last).finish_non_exhaustive()
    }
}

/// A private key that is sealed until the first signature.
#[derive(Clone)]
struct StoredKey(Arc<Stored>);

struct Stored {
    resolver: u64,
    needs: LastNeeds,
    certificate: Certificate,
    key: GuardedKey,
    opened: OnceLock<Arc<dyn SigningKey>>,
}

impl StoredKey {
    fn is_locked(&self) -> bool {
        self.0.key.is_locked()
    }

    /// Opens the key, once, and only if its public half is that of the certificate and what selected it is authentic.
    fn open(&self) -> Result<&Arc<dyn SigningKey>, rustls::Error> {
        let Stored { needs, certificate, key, opened, .. } = &*self.0;
        if let Some(known) = opened.get() {
            return Ok(known);
        }
        match key.signing_key(certificate) {
            Ok(new) => Ok(opened.get_or_init(|| new)),
            Err(Error::VaultLocked) => Err(needs.end(Needs::Unlock)),
            Err(error) => Err(other(Arc::new(error))),
        }
    }
}

impl SigningKey for StoredKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = common_scheme(&self.0.certificate, offered)?;
        Some(Box::new(StoredSigner { key: self.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.certificate.key().algorithm()
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKey({:?})", self.0.certificate)
    }
}

/// One signature with a stored key.
#[derive(Debug)]
struct StoredSigner {
    key: StoredKey,
    scheme: SignatureScheme,
}

impl StoredSigner {
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signer = self.key.open()?.choose_scheme(&[self.scheme]);
        let signer = signer.ok_or_else(|| rustls::Error::General(format!("the key makes no {:?}", self.scheme)))?;
        signer.sign(message).map_err(|error| match failure(&error) {
            Some(Error::VaultLocked) => self.key.0.needs.end(Needs::Unlock),
            _ => error,
        })
    }
}

impl Signer for StoredSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.signature(message);
        if let Some(trace) = Trace::current(self.key.0.resolver) {
            match &signature {
                Ok(_) => trace.note_signed(signed_version(message)),
                Err(_) => trace.withhold(),
            }
        }
        signature
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// A key that signs in TLS 1.3 only; below that, its certificate would be visible on the network.
#[derive(Debug)]
struct Tls13Only {
    key: StoredKey,
    otherwise: StandIn,
}

impl SigningKey for Tls13Only {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let (signer, otherwise) = (self.key.choose_scheme(offered)?, self.otherwise.choose_scheme(offered)?);
        Some(Box::new(Tls13OnlySigner { signer, otherwise }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

#[derive(Debug)]
struct Tls13OnlySigner {
    signer: Box<dyn Signer>,
    otherwise: Box<dyn Signer>,
}

impl Signer for Tls13OnlySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        match signed_version(message) {
            ProtocolVersion::TLSv1_3 => self.signer.sign(message),
            _ => self.otherwise.sign(message),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.signer.scheme()
    }
}

/// A placeholder for a key: the handshake ends where the signature would be made, after the server was verified.
#[derive(Clone, Debug)]
struct StandIn {
    resolver: u64,
    needs: LastNeeds,
    why: Why,
}

/// Why there is no key.
#[derive(Clone, Debug)]
enum Why {
    /// Nothing is decided for this request.
    Undecided(CertificateRequest),
    /// The identity cannot answer.
    Failed(Arc<Error>),
    /// The vault must be unlocked first.
    Locked,
}

fn does_not_fit(identity: &Identity, reason: Reason) -> Why {
    Why::Failed(Arc::new(Error::DoesNotFit { name: identity.name().to_owned(), reason: reason.text() }))
}

impl SigningKey for StandIn {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(StandInSigner { stand_in: self.clone(), scheme: *offered.first()? }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Anonymous
    }
}

#[derive(Debug)]
struct StandInSigner {
    stand_in: StandIn,
    scheme: SignatureScheme,
}

impl Signer for StandInSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        if let Some(trace) = Trace::current(self.stand_in.resolver) {
            trace.withhold();
        }
        Err(match &self.stand_in.why {
            Why::Undecided(request) => {
                let version = Some(signed_version(message));
                self.stand_in.needs.end(Needs::Select(CertificateRequest { version, ..request.clone() }))
            }
            Why::Failed(error) => other(error.clone()),
            Why::Locked => self.stand_in.needs.end(Needs::Unlock),
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// The version of TLS. rustls does not show it to `resolve`, but what a client signs begins with 64 spaces in TLS 1.3 (RFC 8446
/// section 4.4.3), and with the ClientHello below that.
fn signed_version(message: &[u8]) -> ProtocolVersion {
    if message.starts_with(&[b' '; 64]) { ProtocolVersion::TLSv1_3 } else { ProtocolVersion::TLSv1_2 }
}

fn other(error: Arc<dyn StdError + Send + Sync>) -> rustls::Error {
    rustls::Error::Other(OtherError(error))
}

/// The time of another provider, or none while the clock is before 1970, when the provider of rustls panics.
#[derive(Debug)]
struct SinceEpoch {
    clock: fn() -> Timestamp,
    provider: Arc<dyn TimeProvider>,
}

impl TimeProvider for SinceEpoch {
    fn current_time(&self) -> Option<UnixTime> {
        if (self.clock)() < Timestamp(0) { None } else { self.provider.current_time() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_known_from_what_is_signed() {
        let tls13 = [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0"].concat();
        assert_eq!(signed_version(&tls13), ProtocolVersion::TLSv1_3);
        assert_eq!(signed_version(&[1, 0, 0, 4]), ProtocolVersion::TLSv1_2);
    }

    #[test]
    fn a_clock_before_1970_gives_no_time() {
        let provider = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let time = |clock: fn() -> Timestamp| SinceEpoch { clock, provider: provider.clone() }.current_time();
        assert!(time(|| Timestamp(-1)).is_none());
        assert!(time(|| Timestamp(0)).is_some());
    }
}
