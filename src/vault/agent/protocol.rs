//! The requests to an agent, and its replies. No reply holds a key.

use serde::{Deserialize, Serialize};

use crate::certificate::Fingerprint;
use crate::certificate::tried::Tried;
use crate::vault::KeyRow;

/// The version of everything here except [`Request::End`], which is the same in every version.
pub(super) const VERSION: u8 = 1;

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Request<'a> {
    /// Forget the data key and end. It is the first request in every version, so that each version can lock a store that another
    /// one has unlocked.
    End,
    /// Report the status.
    Status,
    /// Use the data key.
    Use {
        /// Identifies the vault that the store has now.
        vault: [u8; 32],
        #[serde(borrow)]
        work: Work<'a>,
    },
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Work<'a> {
    /// Sign, as a TLS client does, with the key of this certificate.
    Sign {
        #[serde(borrow)]
        row: Row<'a>,
        sealed: &'a [u8],
        certificate: &'a [u8],
        scheme: u16,
        message: &'a [u8],
    },
    /// Make the code of a message.
    Authenticate { message: &'a [u8] },
    /// Tell whether this is the code of a message.
    Verify { message: &'a [u8], code: [u8; 32] },
    /// Seal a private key for the store.
    Seal {
        #[serde(borrow)]
        row: Row<'a>,
        pkcs8: &'a [u8],
    },
    /// Tell whether a private key opens in its row.
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
    tried: u8,
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
    /// The lease has expired, or the store has another primary password.
    Locked,
    /// The request has another version, or is not a request.
    NotUnderstood,
    /// A TLS client does not sign this, or not with this key.
    NotTls,
    SealedKey,
    KeyMismatch,
    UnusableKey(String),
    Failed(String),
}

impl<'a> From<&'a KeyRow> for Row<'a> {
    fn from(row: &'a KeyRow) -> Self {
        let KeyRow { id, fingerprint, name, requires_tls13, tried } = row;
        let (fingerprint, tried) = (*fingerprint.as_bytes(), tried.number());
        Self { id: *id, fingerprint, name, requires_tls13: *requires_tls13, tried }
    }
}

impl From<Row<'_>> for KeyRow {
    fn from(row: Row<'_>) -> Self {
        let Row { id, fingerprint, name, requires_tls13, tried } = row;
        let (fingerprint, tried) = (Fingerprint::from_bytes(fingerprint), Tried::from_number(tried));
        Self { id, fingerprint, name: name.to_owned(), requires_tls13, tried }
    }
}
