//! What is asked of an agent, and what it answers. No answer holds a key.

use serde::{Deserialize, Serialize};

use crate::certificate::Fingerprint;
use crate::vault::KeyRow;

/// Of everything here but [`Request::End`].
pub(super) const VERSION: u8 = 1;

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Request<'a> {
    /// To forget the data key and go. The first in every version, so that one version locks what another one unlocked.
    End,
    /// Whether it is there.
    Status,
    /// To use the data key.
    Use {
        /// Of the vault, as the store has it now.
        vault: [u8; 32],
        #[serde(borrow)]
        work: Work<'a>,
    },
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Work<'a> {
    /// What a TLS client signs, with the key of this certificate.
    Sign {
        #[serde(borrow)]
        row: Row<'a>,
        sealed: &'a [u8],
        certificate: &'a [u8],
        scheme: u16,
        message: &'a [u8],
    },
    /// The code of a message.
    Authenticate { message: &'a [u8] },
    /// Whether this is the code of a message.
    Verify { message: &'a [u8], code: [u8; 32] },
    /// A private key on its way into the store.
    Seal {
        #[serde(borrow)]
        row: Row<'a>,
        pkcs8: &'a [u8],
    },
    /// Whether a private key opens in its row.
    Opens {
        #[serde(borrow)]
        row: Row<'a>,
        sealed: &'a [u8],
    },
}

/// The row that a private key is bound to.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Row<'a> {
    id: i64,
    fingerprint: [u8; 32],
    name: &'a str,
    requires_tls13: bool,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Reply {
    Ending,
    Status { vault: [u8; 32], seconds_left: u64 },
    Signature(Vec<u8>),
    Code([u8; 32]),
    Authentic(bool),
    Sealed(Vec<u8>),
    Refused(Refusal),
}

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Refusal {
    /// Its time is over, or the store has another primary password.
    Locked,
    /// It is asked in another version, or in none.
    NotUnderstood,
    /// It is not what a TLS client signs, or not with this key.
    NotTls,
    SealedKey,
    KeyMismatch,
    UnusableKey(String),
    Failed(String),
}

impl<'a> From<&'a KeyRow> for Row<'a> {
    fn from(row: &'a KeyRow) -> Self {
        let KeyRow { id, fingerprint, name, requires_tls13 } = row;
        Self { id: *id, fingerprint: *fingerprint.as_bytes(), name, requires_tls13: *requires_tls13 }
    }
}

impl From<Row<'_>> for KeyRow {
    fn from(row: Row<'_>) -> Self {
        let Row { id, fingerprint, name, requires_tls13 } = row;
        Self { id, fingerprint: Fingerprint::from_bytes(fingerprint), name: name.to_owned(), requires_tls13 }
    }
}
