//! The requests to an agent, and its replies. No reply holds a key.

use serde::{Deserialize, Serialize};

use crate::certificate::Fingerprint;
use crate::certificate::permission::{Confirmation, Permit};
use crate::certificate::tried::Tried;
use crate::vault::{KeyRow, ToSign};

/// The version of everything here except [`Request::End`], which is the same in every version.
///
/// An agent also answers requests of the version before, in that version: a browser keeps the PKCS#11 module loaded for days, while
/// cardcase is updated. What a version adds to an enumeration stands at its end, and `R` is the form of a row that the version has.
pub(super) const VERSION: u8 = 2;

/// The version before.
pub(super) const BEFORE: u8 = 1;

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Request<'a, R = Row<'a>> {
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
        work: Work<'a, R>,
    },
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Work<'a, R = Row<'a>> {
    /// Sign, as a TLS client does, with the key of this certificate.
    Sign { row: R, sealed: &'a [u8], certificate: &'a [u8], scheme: u16, message: &'a [u8] },
    /// Make the code of a message.
    Authenticate { message: &'a [u8] },
    /// Tell whether this is the code of a message.
    Verify { message: &'a [u8], code: [u8; 32] },
    /// Seal a private key for the store.
    Seal { row: R, pkcs8: &'a [u8] },
    /// Tell whether a private key opens in its row.
    Opens { row: R, sealed: &'a [u8] },
    /// Sign for another program, as far as the owner of the key permits that. Since version 2.
    SignForProgram { row: R, sealed: &'a [u8], certificate: &'a [u8], scheme: u16, what: ToSign<'a> },
}

/// The row that a private key is bound to.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    begin: Row1<'a>,
    permission: u8,
    confirmation: u8,
}

/// As much of it as version 1 has. Nothing is permitted there.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Row1<'a> {
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
    /// The owner of the key does not permit it. Since version 2, as what follows.
    NotPermitted(String),
    NotConfirmed,
}

impl<'a> From<&'a KeyRow> for Row<'a> {
    fn from(row: &'a KeyRow) -> Self {
        let KeyRow { id, fingerprint, name, requires_tls13, tried, permit } = row;
        let (fingerprint, tried) = (*fingerprint.as_bytes(), tried.number());
        Self {
            begin: Row1 { id: *id, fingerprint, name, requires_tls13: *requires_tls13, tried },
            permission: permit.permission.number(),
            confirmation: permit.confirmation.number(),
        }
    }
}

impl Row<'_> {
    /// Whether a person may be asked before another program gets a signature.
    pub(super) fn asks_first(&self) -> bool {
        self.confirmation != Confirmation::Never.number()
    }
}

impl From<Row<'_>> for KeyRow {
    fn from(row: Row<'_>) -> Self {
        Self { permit: Permit::from_numbers(row.permission, row.confirmation), ..row.begin.into() }
    }
}

impl From<Row1<'_>> for KeyRow {
    fn from(row: Row1<'_>) -> Self {
        let Row1 { id, fingerprint, name, requires_tls13, tried } = row;
        let (fingerprint, tried) = (Fingerprint::from_bytes(fingerprint), Tried::from_number(tried));
        Self { id, fingerprint, name: name.to_owned(), requires_tls13, tried, permit: Permit::default() }
    }
}
