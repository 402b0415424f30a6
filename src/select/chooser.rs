//! The chooser: asks a person which identity to send when nothing else decides.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use std::sync::Arc;
//!
//! use cardcase::Chooser;
//! use cardcase::ask::{Question, Reply};
//! use cardcase::manage::Lifetime;
//! use cardcase::Destination;
//! use cardcase::ask::CertificateRequest;
//! use cardcase::Selector;
//!
//! struct Dialog;
//!
//! impl Chooser for Dialog {
//!     fn choose(&self, question: &Question<'_>) -> Reply {
//!         // Show a list here; `Reply::Abort` when the person closes it
//!         match question.candidates().find(|candidate| candidate.identity.name().starts_with("Alice")) {
//!             Some(alice) => Reply::Identity { identity: alice.identity, lifetime: Lifetime::Session },
//!             None => Reply::None { lifetime: Lifetime::Once },
//!         }
//!     }
//! }
//!
//! let selector = Selector::new(store).with_chooser(Arc::new(Dialog));
//! let request = CertificateRequest::new(&[], &[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
//! let prepared = selector.select("intranet.example.com".parse::<Destination>()?, &request)?;
//! assert_eq!(prepared.certificates()[0].subject().common_name(), "Alice Example");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::Arc;

use crate::answer::decision::{Answer, Lifetime};
use crate::answer::refusal::Refusal;
use crate::answer::settings::Mode;
use crate::certificate::authority::{Authorities, Authority};
use crate::certificate::identity::Identity;
use crate::clock::Timestamp;
use crate::request::{CertificateRequest, Destination};
use crate::select::candidates::Candidates;
use crate::select::matching::Considered;

/// What a chooser is asked.
#[derive(Debug)]
#[non_exhaustive]
pub struct Question<'a> {
    /// Where the certificate would be sent. The server's own certificate has been verified for this host.
    pub destination: &'a Destination,
    /// What the server asked for.
    pub request: &'a CertificateRequest,
    /// In firefox mode the chooser says how long to remember the answer; in chrome mode it is always remembered.
    pub mode: Mode,
    /// The identity that is remembered for the destination, when it no longer fits.
    pub unfit: Option<&'a Considered>,
    /// The answers that the server refused so far, the last one last.
    pub refused: &'a [Refused],
    /// The current time.
    pub now: Timestamp,
    pub(super) authorities: &'a Authorities,
    pub(crate) candidates: Candidates<'a>,
}

impl Question<'_> {
    /// How many identities fit: at least one. Reads none of them.
    pub fn candidate_count(&self) -> usize {
        self.candidates.len()
    }

    /// The identities that fit, best first, read from the store while the iterator is used: those that are skipped (`skip`, `nth`)
    /// are not read. One that was removed since the question was asked is left out.
    ///
    /// If the store cannot be read, the iterator ends, and the selection fails with that error, whatever is answered.
    pub fn candidates(&self) -> impl Iterator<Item = Considered> {
        self.candidates.each(self.candidates.fingerprints().collect())
    }

    /// The identities that do not fit, by name, with the reasons; read as [`Self::candidates`] are.
    pub fn others(&self) -> impl Iterator<Item = Considered> {
        // One that was imported since then may fit, and was not offered
        self.candidates.each(self.candidates.others()).filter(|other| !other.is_candidate())
    }

    /// The CA certificates above an identity that the store has, its issuer first, up to a self-issued one where it is known.
    pub fn chain(&self, considered: &Considered) -> Vec<Arc<Authority>> {
        self.authorities.chain(considered.identity.certificate(), None).authorities
    }
}

/// An answer that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// What was sent.
    pub answer: Answer,
    /// How the server refused it.
    pub refusal: Refusal,
}

impl Refused {
    /// From what was sent, and how the server refused it.
    pub fn new(answer: Answer, refusal: Refusal) -> Self {
        Self { answer, refusal }
    }
}

/// What was sent, and how the server refused it.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Answer::Identity(identity) => write!(f, "{:?} was refused: {}", identity.name(), self.refusal),
            Answer::None => write!(f, "the server refused, as no certificate was sent: {}", self.refusal),
        }
    }
}

/// A chooser's answer. Only the first two can be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Send one of the candidates.
    Identity {
        /// The candidate as the person saw it. If it has another name by now, or no longer fits, the chooser is asked again.
        identity: Arc<Identity>,
        /// How long to remember it; ignored in chrome mode.
        lifetime: Lifetime,
    },
    /// Send no certificate.
    None {
        /// How long to remember it; ignored in chrome mode.
        lifetime: Lifetime,
    },
    /// The person does not want to answer: store nothing, send nothing.
    Abort,
    /// Nobody can be asked: store nothing, send nothing.
    Nobody,
    /// Asking failed: store nothing, send nothing.
    Failed {
        /// Who failed and why, for the person: `/usr/bin/dialog: it cannot be started`.
        reason: String,
    },
}

/// Asks a person, or a program that answers for one.
pub trait Chooser: Send + Sync {
    /// Whether anybody can be asked. If not, the selector does not wait for an answer that another process is getting either.
    fn can_ask(&self) -> bool {
        true
    }

    /// Called when another thread or process is asking about the same scope, before waiting for its answer.
    fn waiting(&self, _destination: &Destination) {}

    /// Asks, and blocks until there is an answer.
    fn choose(&self, question: &Question<'_>) -> Reply;
}

/// The chooser of a selector that was given none.
pub(super) struct NoChooser;

impl Chooser for NoChooser {
    fn can_ask(&self) -> bool {
        false
    }

    fn choose(&self, _question: &Question<'_>) -> Reply {
        Reply::Nobody
    }
}
