//! One TLS connection of OpenSSL, which stops when a request has to be answered, and goes on afterwards.

use std::io;
use std::sync::Arc;

use openssl::ssl::{self, ErrorCode, Ssl, SslRef, SslStream};
use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible, ProtocolVersion};

use super::answer::Continuation;
use super::below::Below;
use super::callback::{self, CertificateMessage, State};
use crate::answer::decision::Answer;
use crate::clock::Timestamp;
use crate::connect::opened::Opened;
use crate::connect::unverified::{Fault, Unverified};
use crate::request::CertificateRequest;

/// ERR_LIB_SSL (openssl/err.h): what is wrong with the connection.
const LIBRARY: i32 = 20;
/// What OpenSSL adds to the number of an alert that it received (openssl/sslerr.h, SSL_AD_REASON_OFFSET).
const ALERT: i32 = 1000;
/// SSL_R_CERTIFICATE_VERIFY_FAILED and SSL_R_UNEXPECTED_EOF_WHILE_READING, there too.
const VERIFY_FAILED: i32 = 134;
const UNEXPECTED_EOF: i32 = 294;
/// SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_VERSION_NUMBER and SSL_R_NO_RENEGOTIATION.
const UNSUPPORTED_PROTOCOL: i32 = 258;
const WRONG_VERSION_NUMBER: i32 = 267;
const NO_RENEGOTIATION: i32 = 339;

/// Why an operation did not finish.
pub(super) enum Halt {
    /// The server asks. Repeat the operation once the request is answered.
    Asked(CertificateRequest),
    /// The stream below is not ready.
    WouldBlock(io::Error),
    /// The server has closed the connection as it should.
    Closed,
    Failed(io::Error),
}

/// A connection, and what was answered on it.
pub(super) struct Session<S> {
    tls: SslStream<Below<S>>,
    state: State,
    opened: Opened,
    established: bool,
    /// Whether the server was answered since the last handshake, and if so whether with an identity.
    replied: Option<bool>,
    /// How the connection has ended, if it has.
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    /// As if the server had closed it.
    Closed,
    Failed,
}

impl<S> Session<S> {
    pub(super) fn new(mut ssl: Ssl, below: Below<S>, opened: Opened) -> io::Result<Self> {
        let state = callback::attach(&mut ssl)?;
        let tls = SslStream::new(ssl, below)?;
        Ok(Self { tls, state, opened, established: false, replied: None, end: None })
    }

    pub(super) fn connect(&mut self) -> Result<(), Halt> {
        self.run(SslStream::connect)?;
        self.state.establish();
        self.established = true;
        let ssl = self.tls.ssl();
        self.opened.negotiated(version(ssl), ssl.selected_alpn_protocol());
        callback::cipher_name(ssl).into_iter().for_each(|name| self.opened.note_cipher(name));
        Ok(())
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Halt> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = self.run(|tls| tls.ssl_read(buffer))?;
        self.opened.note_read();
        self.opened.position().read(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Halt> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.opened.note_written();
        let length = self.run(|tls| tls.ssl_write(bytes))?;
        self.opened.position().written();
        Ok(length)
    }

    /// Says that nothing more is written, if that can still be said.
    pub(super) fn shut_down(&mut self) -> Result<(), Halt> {
        if self.end.is_some() || !self.established {
            return Ok(());
        }
        match self.tls.shutdown() {
            Err(error) if error.code() == ErrorCode::WANT_READ || error.code() == ErrorCode::WANT_WRITE => {
                Err(self.halt(error))
            }
            // A server that has gone need not be told
            _ => Ok(()),
        }
    }

    /// Goes on with the answer to a request.
    pub(super) fn go_on(&mut self, continuation: Continuation) {
        match continuation {
            Continuation::Answer(answered, message) => {
                self.replied = Some(matches!(message, CertificateMessage::Identity(_)));
                self.state.reply(message);
                self.opened.note_answer(*answered);
            }
            Continuation::End => self.end = Some(End::Closed),
        }
    }

    /// Ends the connection: its request is never answered.
    pub(super) fn give_up(&mut self) {
        self.end = Some(End::Failed);
    }

    /// Whether the first handshake is over.
    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    pub(super) fn below(&self) -> &Below<S> {
        self.tls.get_ref()
    }

    pub(super) fn below_mut(&mut self) -> &mut Below<S> {
        self.tls.get_mut()
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut SslStream<Below<S>>) -> Result<T, ssl::Error>) -> Result<T, Halt> {
        match self.end {
            Some(End::Closed) => return Err(Halt::Closed),
            Some(End::Failed) => return Err(Halt::Failed(io::ErrorKind::NotConnected.into())),
            None => {}
        }
        match work(&mut self.tls) {
            Ok(done) => self.settle().map(|()| done),
            Err(error) => Err(self.halt(error)),
        }
    }

    /// After a handshake the key is no longer needed. Checks that OpenSSL has used it.
    fn settle(&mut self) -> Result<(), Halt> {
        if !self.tls.ssl().is_init_finished() {
            return Ok(());
        }
        callback::make_unresumable(self.tls.ssl());
        if self.replied.is_none() {
            return Ok(());
        }
        let identity = self.replied.take() == Some(true);
        let signed = callback::has_signed(self.tls.ssl());
        callback::forget(self.tls.ssl());
        if identity && !signed {
            self.give_up();
            return Err(Halt::Failed(unsigned(&self.opened)));
        }
        Ok(())
    }

    fn halt(&mut self, error: ssl::Error) -> Halt {
        if callback::is_suspended(&error) {
            callback::cipher_name(self.tls.ssl()).into_iter().for_each(|name| self.opened.note_cipher(name));
            let asked = self.state.asked();
            return asked.map_or_else(|| Halt::Failed(io::Error::other("no request is known")), Halt::Asked);
        }
        match error.code() {
            ErrorCode::ZERO_RETURN => {
                self.note_end(&io::ErrorKind::UnexpectedEof.into());
                Halt::Closed
            }
            // Without an error of the stream there is only something to be repeated
            ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => {
                Halt::WouldBlock(error.into_io_error().unwrap_or_else(|_| io::ErrorKind::Interrupted.into()))
            }
            _ => {
                let unsent = self.tls.get_ref().unsent();
                let failed = self.state.failure().map(io::Error::other);
                let failed = failed.unwrap_or_else(|| failure(error, self.tls.ssl()));
                self.give_up();
                let failed = match unsent {
                    Some(kind) if failed.kind() == io::ErrorKind::UnexpectedEof => kind.into(),
                    _ => failed,
                };
                self.note_end(&failed);
                Halt::Failed(failed)
            }
        }
    }

    /// Notes how the other side ended the connection, if it did.
    fn note_end(&self, error: &io::Error) {
        match self.established {
            true => self.opened.note_error(error),
            false => self.opened.ended_by(error),
        }
    }
}

fn version(ssl: &SslRef) -> Option<ProtocolVersion> {
    match ssl.version2()? {
        ssl::SslVersion::TLS1_3 => Some(ProtocolVersion::TLSv1_3),
        ssl::SslVersion::TLS1_2 => Some(ProtocolVersion::TLSv1_2),
        _ => None,
    }
}

fn unsigned(opened: &Opened) -> io::Error {
    let sent = opened.selection().map(|selection| selection.answer);
    let name = match &sent {
        Some(Answer::Identity(identity)) => identity.name(),
        _ => "",
    };
    io::Error::other(format!(
        "OpenSSL cannot sign with {name:?} in a way that the server accepts, and sent no certificate"
    ))
}

/// What went wrong, in the errors of rustls where it has them: [`crate::connect::refusal`] finds them.
fn failure(error: ssl::Error, ssl: &SslRef) -> io::Error {
    let error = match error.into_io_error() {
        Ok(io) => return io,
        Err(error) => error,
    };
    // An error of the cryptography below may come before the one of TLS
    let by_tls = |error: &&openssl::error::Error| error.library_code() == LIBRARY;
    let errors = error.ssl_error().map(openssl::error::ErrorStack::errors).unwrap_or_default();
    let first = errors.iter().find(by_tls).or(errors.first());
    match first.map(openssl::error::Error::reason_code) {
        Some(UNEXPECTED_EOF) | None => io::ErrorKind::UnexpectedEof.into(),
        Some(VERIFY_FAILED) => as_rustls(unverified(ssl)),
        Some(WRONG_VERSION_NUMBER) => as_rustls(InvalidMessage::InvalidContentType.into()),
        Some(UNSUPPORTED_PROTOCOL) => as_rustls(PeerIncompatible::ServerDoesNotSupportTls12Or13.into()),
        Some(NO_RENEGOTIATION) => as_rustls(rustls::Error::AlertReceived(AlertDescription::NoRenegotiation)),
        Some(reason) => as_rustls(match u8::try_from(reason - ALERT) {
            Ok(alert) => rustls::Error::AlertReceived(AlertDescription::from(alert)),
            Err(_) => {
                let said = first.and_then(openssl::error::Error::reason);
                rustls::Error::General(format!("OpenSSL ended the connection: {}", said.unwrap_or("an unknown error")))
            }
        }),
    }
}

fn as_rustls(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Why the server was not verified. OpenSSL before 3.0 does not say which certificates it presented.
fn unverified(ssl: &SslRef) -> rustls::Error {
    let error = Fault::error_from_openssl(ssl.verify_result());
    let presented = ssl.peer_cert_chain().into_iter().flatten();
    let presented: Vec<_> = presented.filter_map(|certificate| certificate.to_der().ok()).map(Into::into).collect();
    let error = match presented.is_empty() {
        true => error,
        false => CertificateError::Other(OtherError(Arc::new(Unverified::new(error, &presented, Timestamp::now())))),
    };
    rustls::Error::InvalidCertificate(error)
}
