//! What a handshake needs before it can go on, and how it gets that.

use std::error::Error as StdError;
use std::fmt;

use crate::connect::refusal::causes;
use crate::error::Error;
use crate::request::CertificateRequest;
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// What a handshake needed when it ended: found by [`cause`](crate::connect::cause) in the error that ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// The server, which was verified, asks for a certificate, and nothing is decided.
    Select(CertificateRequest),
    /// The identity is decided, and its private key is needed: the vault must be unlocked.
    Unlock,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Select(_) => "the server asks for a client certificate, and none is decided yet",
            Self::Unlock => "the vault must be unlocked to use the private key",
        })
    }
}

impl StdError for Needs {}

/// Finds what a handshake needed when it ended, in an error of rustls or in any error around it.
pub(crate) fn needs<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Needs> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// Provides what a handshake that began with `before` needed: lets the selector answer the server's request, or unlocks the
/// vault and looks the identity up again. Blocks while a person answers, so do not call it on a thread of an asynchronous
/// executor.
///
/// # Errors
/// Those of [`Selector::select`], [`Selector::unlock`] and [`Selector::refresh`].
pub fn grant(selector: &Selector, before: &Prepared, needs: &Needs) -> Result<Prepared, Error> {
    match needs {
        Needs::Select(request) => selector.select(before.target(), request),
        Needs::Unlock => selector.unlock().and_then(|()| selector.refresh(before)),
    }
}
