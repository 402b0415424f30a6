//! The certificate callback of OpenSSL, which suspends a connection until its request is answered. The only file with `unsafe`.
//!
//! The crate `openssl` does not wrap the callback, nor what it takes to answer a request: the authorities and signature
//! algorithms of the server, taking certificates back, and post-handshake authentication. All of it is here, behind safe
//! functions. The state of a connection is in the extra data of its SSL object, and OpenSSL frees it with that object.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{self, Ssl, SslCipherRef, SslContextBuilder, SslRef, SslVersion};
use openssl::stack::StackRef;
use openssl::x509::{X509, X509Name, X509VerifyResult};
use openssl_sys as sys;
use rustls::{ProtocolVersion, SignatureScheme};

use crate::certificate::name::Name;
use crate::request::CertificateRequest;

type CertificateCallback = unsafe extern "C" fn(ssl: *mut sys::SSL, argument: *mut c_void) -> c_int;

// As openssl/ssl.h of OpenSSL 1.1.1 and newer declares them
unsafe extern "C" {
    fn SSL_CTX_set_cert_cb(context: *mut sys::SSL_CTX, callback: Option<CertificateCallback>, argument: *mut c_void);
    fn SSL_get0_peer_CA_list(ssl: *const sys::SSL) -> *const sys::stack_st_X509_NAME;
    fn SSL_get_sigalgs(
        ssl: *mut sys::SSL,
        index: c_int,
        signature: *mut c_int,
        hash: *mut c_int,
        both: *mut c_int,
        raw_signature: *mut c_uchar,
        raw_hash: *mut c_uchar,
    ) -> c_int;
    fn SSL_certs_clear(ssl: *mut sys::SSL);
    fn SSL_get_pending_cipher(ssl: *const sys::SSL) -> *const sys::SSL_CIPHER;
    fn SSL_SESSION_set1_id(session: *mut sys::SSL_SESSION, id: *const c_uchar, length: c_uint) -> c_int;
}

/// SSL_get_signature_nid, which is a macro there.
const GET_SIGNATURE_NID: c_int = 132;

/// What the callback returns to OpenSSL (SSL_CTX_set_cert_cb(3)).
const GO_ON: c_int = 1;
const FAIL: c_int = 0;
const SUSPEND: c_int = -1;

/// A certificate with its chain, leaf excluded, and its private key in the clear.
pub(super) struct Material {
    pub(super) certificate: X509,
    pub(super) chain: Vec<X509>,
    pub(super) key: PKey<Private>,
}

/// The Certificate message with which a suspended connection goes on.
pub(super) enum CertificateMessage {
    Empty,
    Identity(Material),
}

/// What one connection knows about its current request. OpenSSL and the session share it.
#[derive(Clone, Default)]
pub(super) struct State(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// What suspended it.
    asked: Option<CertificateRequest>,
    /// What it goes on with. The request it answers takes it, so that the next request suspends again.
    reply: Option<CertificateMessage>,
    /// Whether the first handshake is over.
    established: bool,
    /// Why it cannot go on.
    failure: Option<Failure>,
    /// The security level outside of answering.
    security_level: Option<u32>,
}

impl State {
    /// Notes that the first handshake is over.
    pub(super) fn establish(&self) {
        self.known().established = true;
    }

    /// The request that suspended the connection.
    pub(super) fn asked(&self) -> Option<CertificateRequest> {
        self.known().asked.clone()
    }

    /// What a suspended connection goes on with, at the next call of OpenSSL.
    pub(super) fn reply(&self, reply: CertificateMessage) {
        let mut known = self.known();
        (known.asked, known.reply) = (None, Some(reply));
    }

    /// Why the callback ended the connection, if it did.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.known().failure.take()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("OpenSSL does not accept the identity: {0}")]
    Material(#[from] ErrorStack),
    #[error("a server that was not verified asks for a client certificate")]
    Unverified,
    #[error(
        "the server asks for a client certificate before it has proven its own, by a key exchange without forward secrecy"
    )]
    Unproven,
    #[error("the server asks for a client certificate in the middle of an HTTP/2 connection, which is forbidden")]
    Http2,
}

fn index() -> Result<Index<Ssl, State>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, State>> = OnceLock::new();
    if let Some(known) = INDEX.get() {
        return Ok(*known);
    }
    // Two threads may both get one; the second stays unused
    let new = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| new))
}

/// Has the connections of this context suspend when they are asked, also after the handshake.
pub(super) fn install(context: &mut SslContextBuilder) {
    // SAFETY: the context is live, the callback has the type that is declared, and takes no argument
    unsafe {
        SSL_CTX_set_cert_cb(context.as_ptr(), Some(on_request), ptr::null_mut());
        sys::SSL_CTX_set_post_handshake_auth(context.as_ptr(), 1);
    }
}

/// Gives a connection of such a context its state, which it frees with itself.
pub(super) fn attach(ssl: &mut SslRef) -> Result<State, ErrorStack> {
    let state = State::default();
    ssl.set_ex_data(index()?, state.clone());
    Ok(state)
}

/// Whether this error means that the callback suspended the connection.
pub(super) fn is_suspended(error: &ssl::Error) -> bool {
    error.code().as_raw() == sys::SSL_ERROR_WANT_X509_LOOKUP
}

/// Whether OpenSSL could sign with the key: if not, it has sent an empty Certificate.
pub(super) fn has_signed(ssl: &SslRef) -> bool {
    let mut nid: c_int = 0;
    // SAFETY: the SSL is live, and the number is written to where it may be
    unsafe { sys::SSL_ctrl(ssl.as_ptr(), GET_SIGNATURE_NID, 0, (&raw mut nid).cast()) == 1 }
}

/// Makes the next renegotiation a full handshake, as in Firefox: OpenSSL would offer to resume the current session, and a server
/// that resumes cannot ask. There are no tickets, so a session without an ID cannot be resumed.
pub(super) fn make_unresumable(ssl: &SslRef) {
    let Some(session) = ssl.session() else { return };
    // SAFETY: the session is live as long as its SSL, which only whoever drives it works with, and no bytes are copied
    unsafe { SSL_SESSION_set1_id(session.as_ptr(), [].as_ptr(), 0) };
}

/// Takes certificate, chain and key back. OpenSSL wipes the key, if nothing else holds it. Only the session that drives the
/// connection may call this, while no handshake is under way.
pub(super) fn forget(ssl: &SslRef) {
    let level = state(ssl).and_then(|state| state.known().security_level.take());
    // SAFETY: the SSL is live, and no handshake uses what is cleared: it is over, or about to use what comes next
    unsafe {
        SSL_certs_clear(ssl.as_ptr());
        if let Some(level) = level.and_then(|level| c_int::try_from(level).ok()) {
            sys::SSL_set_security_level(ssl.as_ptr(), level);
        }
    }
}

fn state(ssl: &SslRef) -> Option<State> {
    ssl.ex_data(index().ok()?).cloned()
}

unsafe extern "C" fn on_request(ssl: *mut sys::SSL, _: *mut c_void) -> c_int {
    // SAFETY: OpenSSL calls with the SSL it is working for, which lives through the call
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    // No panic may reach OpenSSL. The state that a panic leaves behind belongs to a connection that ends here
    catch_unwind(AssertUnwindSafe(|| answer(ssl))).unwrap_or(FAIL)
}

fn answer(ssl: &mut SslRef) -> c_int {
    let Some(state) = state(ssl) else { return FAIL };
    // The lock is released: what follows takes it again
    let (reply, established) = {
        let mut known = state.known();
        (known.reply.take(), known.established)
    };
    let answered = match reply {
        Some(reply) => use_reply(ssl, reply).map(|()| GO_ON),
        None => check(ssl, established).map(|()| SUSPEND),
    };
    match answered {
        Ok(go_on) => {
            state.known().asked = (go_on == SUSPEND).then(|| request(ssl));
            go_on
        }
        Err(failure) => {
            state.known().failure = Some(failure);
            FAIL
        }
    }
}

/// Nobody is asked for a server that was not verified, nor where HTTP forbids it (RFC 9113 section 9.2).
fn check(ssl: &SslRef, established: bool) -> Result<(), Failure> {
    if ssl.verify_result() != X509VerifyResult::OK || ssl.peer_certificate().is_none() {
        return Err(Failure::Unverified);
    }
    // With RSA key exchange, the server has not yet proven that it has the key of its certificate (RFC 5246 section 7.4.7.1)
    let is_proven = negotiated_cipher(ssl).is_some_and(|cipher| !cipher.description().contains(" Kx=RSA"));
    if !established && !is_proven {
        return Err(Failure::Unproven);
    }
    if established && ssl.selected_alpn_protocol() == Some(b"h2") {
        return Err(Failure::Http2);
    }
    Ok(())
}

/// The name of the cipher suite that was negotiated, in the current handshake or in the last one.
pub(super) fn cipher_name(ssl: &SslRef) -> Option<&'static str> {
    negotiated_cipher(ssl).or_else(|| ssl.current_cipher()).map(SslCipherRef::name)
}

/// The cipher of the current handshake.
fn negotiated_cipher(ssl: &SslRef) -> Option<&SslCipherRef> {
    // SAFETY: the SSL is live, and what it gives, if anything, is a constant of OpenSSL's
    unsafe {
        let cipher = SSL_get_pending_cipher(ssl.as_ptr());
        (!cipher.is_null()).then(|| SslCipherRef::from_ptr(cipher.cast_mut()))
    }
}

fn use_reply(ssl: &mut SslRef, reply: CertificateMessage) -> Result<(), Failure> {
    // There is one slot for each kind of key: what was sent before may be in another
    forget(ssl);
    let CertificateMessage::Identity(Material { certificate, chain, key }) = reply else { return Ok(()) };
    // Whether a client's key is strong enough is the server's to say: Debian's OpenSSL would not send one of 1024 bits. The server
    // is verified by now, and the level applies again once the handshake is over
    if let Some(state) = state(ssl) {
        state.known().security_level = Some(ssl.security_level());
        ssl.set_security_level(0);
    }
    ssl.set_certificate(&certificate)?;
    ssl.set_private_key(&key)?;
    for authority in chain {
        ssl.add_chain_cert(authority)?;
    }
    Ok(())
}

fn request(ssl: &mut SslRef) -> CertificateRequest {
    let version = match ssl.version2() {
        Some(SslVersion::TLS1_3) => ProtocolVersion::TLSv1_3,
        _ => ProtocolVersion::TLSv1_2,
    };
    CertificateRequest {
        authorities: authorities(ssl),
        schemes: schemes(ssl),
        version: Some(version),
        is_over_openssl: true,
    }
}

fn authorities(ssl: &SslRef) -> Vec<Name> {
    // SAFETY: the SSL is live, and owns the list, which nothing changes before the callback returns
    let names = unsafe {
        let list = SSL_get0_peer_CA_list(ssl.as_ptr());
        if list.is_null() {
            return Vec::new();
        }
        StackRef::<X509Name>::from_ptr(list.cast_mut())
    };
    // OpenSSL keeps the bytes of a name that it was sent
    names.iter().filter_map(|name| name.to_der().ok()).map(|der| Name::from_der(&*der)).collect()
}

/// In the server's order, by their numbers in TLS.
fn schemes(ssl: &mut SslRef) -> Vec<SignatureScheme> {
    let null = ptr::null_mut();
    // SAFETY: the SSL is live, and what is null is not written to
    let count = unsafe { SSL_get_sigalgs(ssl.as_ptr(), -1, null, null, null, ptr::null_mut(), ptr::null_mut()) };
    let scheme = |index| {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the SSL is live, the index below the number of entries, and the bytes are written to where they may be
        unsafe { SSL_get_sigalgs(ssl.as_ptr(), index, null, null, null, &raw mut low, &raw mut high) };
        SignatureScheme::from(u16::from_be_bytes([high, low]))
    };
    (0..count).map(scheme).collect()
}
