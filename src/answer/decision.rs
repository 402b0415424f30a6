//! Decisions: what was answered for a destination, and for how long.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::Destination;
//! use cardcase::manage::{Lifetime, Mode, Timestamp};
//!
//! let intranet: Destination = "intranet.example.com".parse()?;
//! let scope = Mode::Firefox.scope(&intranet);
//! let alice = store.find_identity("Alice Example's card")?;
//! store.remember(&scope, Some(alice.fingerprint()), Lifetime::Permanent, Timestamp::now())?;
//! assert_eq!(store.decision(&scope)?.and_then(|decision| decision.identity), Some(alice.fingerprint()));
//! let (forgotten, _unreadable) = store.forget(&scope)?;
//! assert_eq!(forgotten.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::answer::settings::Mode;
use crate::certificate::Fingerprint;
use crate::certificate::identity::Identity;
use crate::clock::Timestamp;
use crate::request::{Destination, in_brackets};

impl Mode {
    /// The scope under which a decision for this destination is remembered.
    pub fn scope(self, destination: &Destination) -> Scope {
        Scope { host: destination.host().to_owned(), port: (self == Self::Chrome).then_some(destination.port()) }
    }

    /// The mode in which a decision with this scope applies.
    pub fn from_scope(scope: &Scope) -> Self {
        match scope.port {
            None => Self::Firefox,
            Some(_) => Self::Chrome,
        }
    }
}

/// Where a decision applies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "it is the whole key of a decision")]
pub struct Scope {
    /// The host, as [`Destination::host`].
    pub host: String,
    /// The port; `None` for every port of the host (firefox mode).
    pub port: Option<u16>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) => write!(f, "{}:{port}", in_brackets(&self.host)),
        }
    }
}

/// How long an answer is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are exactly three")]
pub enum Lifetime {
    /// For this connection only; nothing is stored.
    Once,
    /// Until the person logs out.
    Session,
    /// Until it is forgotten.
    Permanent,
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "once",
            Self::Session => "session",
            Self::Permanent => "permanent",
        })
    }
}

/// What is sent to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either an identity is sent, or none")]
pub enum Answer {
    /// This identity.
    Identity(Arc<Identity>),
    /// No certificate.
    None,
}

impl Answer {
    /// The fingerprint of the identity, if there is one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Identity(identity) => Some(identity.fingerprint()),
            Self::None => None,
        }
    }
}

/// How a server reacted to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a server accepts, refuses, or does not tell")]
pub enum Outcome {
    /// It continued the connection.
    Accepted,
    /// It refused the identity, or refused to go on without one.
    Refused,
    /// The connection ended before it was known.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        })
    }
}

impl FromStr for Outcome {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "accepted" => Self::Accepted,
            "refused" => Self::Refused,
            _ => Self::Unknown,
        })
    }
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Where it applies.
    pub scope: Scope,
    /// The identity, or `None` for no certificate.
    pub identity: Option<Fingerprint>,
    /// [`Lifetime::Session`] or [`Lifetime::Permanent`].
    pub lifetime: Lifetime,
    /// When it was made.
    pub decided_at: Timestamp,
    /// When it last answered a server, if it has.
    pub last_used_at: Option<Timestamp>,
    /// How that server reacted.
    pub last_outcome: Option<Outcome>,
}
