//! Answering a request for a certificate, on a thread that may block.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::x509::X509;
use rustls::OtherError;

use super::callback::{CertificateMessage, Material};
use crate::answer::decision::Answer;
use crate::certificate::Certificate;
use crate::certificate::authority::Requested;
use crate::certificate::identity::Identity;
use crate::connect::drive::LookUp;
use crate::connect::http_position::Treatment;
use crate::connect::opened::{Answered, Opened};
use crate::connect::unlocking::Unlocking;
use crate::error::Error;
use crate::request::{CertificateRequest, Target};
use crate::select::matching::{Reason, reasons};
use crate::select::prepared::Prepared;
use crate::select::selection::{Selection, Source};
use crate::select::selector::Selector;

/// Selections tried for one request: another one may be needed after the vault was unlocked.
const ATTEMPTS: usize = 3;

/// The most steps for one request: every selection, and unlocking after it.
pub(super) const STEPS: usize = 2 * ATTEMPTS;

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) selector: Arc<Selector>,
    pub(super) unlocking: Arc<Unlocking>,
    /// What answers the first request, or all of them where it was given for once.
    pub(super) given: Option<Prepared>,
    pub(super) opened: Opened,
}

/// A request that is being answered.
pub(super) struct Pending {
    answering: Answering,
    pub(super) target: Target,
    pub(super) request: CertificateRequest,
    /// Whether it came in the middle of the connection.
    mid_connection: bool,
}

/// What answering a request takes next.
pub(super) enum Step {
    /// The selector has to answer, which may ask a person.
    Select,
    /// The vault has to be unlocked, to get the key of the selected identity in the clear.
    Unlock(Box<Prepared>),
    Done(Continuation),
}

/// What a connection goes on with.
pub(super) enum Continuation {
    Answer(Box<Answered>, CertificateMessage),
    /// Nothing more is read from it.
    End,
}

impl Answering {
    /// A request that is to be answered. On a connection that was kept for another exchange the path is unknown: neither rules
    /// for the path of the first exchange apply, nor what was chosen for it once.
    pub(super) fn pending(&self, request: CertificateRequest, mid_connection: bool) -> Pending {
        let (mut answering, mut target) = (self.clone(), self.opened.target().clone());
        if self.opened.position().is_another() {
            answering.answered();
            target = target.without_path();
        }
        Pending { answering, target, request, mid_connection }
    }

    /// Answers a request. Blocks while somebody chooses, or types a password.
    ///
    /// # Errors
    /// Those of [`Selector::select`], and of the identity that is to be sent. Nothing may be sent then.
    pub(super) fn answer(&self, request: CertificateRequest, mid_connection: bool) -> Result<Continuation, Error> {
        let pending = self.pending(request, mid_connection);
        let mut step = pending.begin()?;
        for _ in 0..STEPS {
            step = match step {
                Step::Select => pending.selected(self.selector.select(&pending.target, &pending.request)?)?,
                Step::Unlock(before) => {
                    pending.unlocked(self.unlocking.unlock(&self.selector, &before, Selector::unlock_fully)?)?
                }
                Step::Done(continuation) => return Ok(continuation),
            };
        }
        pending.end(step)
    }

    /// Forgets what was given for the first request, after it was answered. An identity that was given by name answers all.
    pub(super) fn answered(&mut self) {
        self.given = self.given.take().filter(|given| {
            given.selection().is_some_and(|selection| matches!(selection.source, Source::Given | Source::Omitted))
        });
    }
}

impl Pending {
    /// The first step. Reads the store.
    pub(super) fn begin(&self) -> Result<Step, Error> {
        let Answering { selector, given, opened, .. } = &self.answering;
        if self.mid_connection {
            match opened.position().treatment(selector.mode()?) {
                Treatment::Answer => {}
                Treatment::Fail => {
                    return Err(Error::AskedInResponse { destination: self.target.destination().to_string() });
                }
                Treatment::End => return Ok(Step::Done(Continuation::End)),
            }
        }
        match given {
            Some(given) => self.unlocked(LookUp::Refresh(given.clone()).run(selector)?),
            None => Ok(Step::Select),
        }
    }

    /// The step after the vault was unlocked: what was selected before may no longer fit.
    pub(super) fn unlocked(&self, renewed: Prepared) -> Result<Step, Error> {
        match is_for(&renewed, &self.request) {
            true => self.selected(renewed),
            false => Ok(Step::Select),
        }
    }

    /// The step after a selection. OpenSSL signs by itself, so the key has to be open in this process; an agent is not enough.
    pub(super) fn selected(&self, prepared: Prepared) -> Result<Step, Error> {
        let Some(selection) = prepared.selection().cloned() else { return Ok(Step::Select) };
        if prepared.key.as_ref().is_some_and(|key| !key.is_open_here()) {
            return Ok(Step::Unlock(Box::new(prepared)));
        }
        let message = match &selection.answer {
            Answer::Identity(identity) => {
                CertificateMessage::Identity(material(&prepared, &selection, identity, &self.request)?)
            }
            Answer::None => CertificateMessage::Empty,
        };
        let (request, mid_connection) = (self.request.clone(), self.mid_connection);
        Ok(Step::Done(Continuation::Answer(
            Box::new(Answered { selection, request: Some(request), prepared, mid_connection }),
            message,
        )))
    }

    /// The result after all steps.
    pub(super) fn end(&self, step: Step) -> Result<Continuation, Error> {
        let destination = self.target.destination();
        match step {
            Step::Done(continuation) => Ok(continuation),
            _ => Err(Error::RequestKeepsChanging { destination: destination.to_string(), attempts: ATTEMPTS }),
        }
    }
}

/// An error of this library as rustls would wrap it.
pub(super) fn io_error(error: Error) -> std::io::Error {
    std::io::Error::other(rustls::Error::Other(OtherError(Arc::new(error))))
}

/// Whether what was prepared before the server asked answers this request.
fn is_for(prepared: &Prepared, request: &CertificateRequest) -> bool {
    let Some(selection) = prepared.selection() else { return false };
    let only = prepared.request.as_ref().is_none_or(|only| only == request);
    only && match &selection.answer {
        Answer::Identity(identity) if selection.source != Source::Given => {
            against(prepared, selection, identity, request).is_none()
        }
        _ => true,
    }
}

/// Why an identity cannot answer a request.
fn against(
    prepared: &Prepared,
    selection: &Selection,
    identity: &Identity,
    request: &CertificateRequest,
) -> Option<Reason> {
    let requested = requested(prepared, request);
    let mut reasons = reasons(identity, requested.as_ref(), request);
    // An identity that was given is sent whatever the server asks for
    reasons.retain(|reason| selection.source != Source::Given || *reason == Reason::NoCommonSignatureScheme);
    reasons.extend((prepared.requires_tls13 && request.is_visible()).then_some(Reason::RequiresTls13));
    reasons.first().copied()
}

fn requested(prepared: &Prepared, request: &CertificateRequest) -> Option<Requested> {
    (!request.authorities.is_empty()).then(|| prepared.authorities.requested(&request.authorities))
}

fn material(
    prepared: &Prepared,
    selection: &Selection,
    identity: &Identity,
    request: &CertificateRequest,
) -> Result<Material, Error> {
    if let Some(reason) = against(prepared, selection, identity, request) {
        return Err(Error::DoesNotFit { name: identity.name().to_owned(), reason: reason.text() });
    }
    let certificate = identity.certificate();
    let guarded = prepared.key.as_ref().ok_or_else(|| Error::SealedKey { name: identity.name().to_owned() })?;
    let key = guarded.private_key(certificate)?;
    let unusable = |detail: String| Error::UnusableKey { key: certificate.key().to_string(), detail };
    let chain = prepared.authorities.chain(certificate, requested(prepared, request).as_ref());
    let x509 = |certificate: &Certificate| X509::from_der(certificate.der());
    let whole = || -> Result<Material, ErrorStack> {
        Ok(Material {
            certificate: x509(certificate)?,
            chain: chain.intermediates().map(x509).collect::<Result<_, _>>()?,
            key: PKey::private_key_from_pkcs8(key.pkcs8())?,
        })
    };
    whole().map_err(|error| unusable(error.to_string()))
}
