//! What an agent signs for other programs, which ask through the PKCS#11 module.

use rustls::SignatureScheme;

use super::transcript;
use crate::certificate::Certificate;
use crate::certificate::permission::Permission;
use crate::certificate::rsa_pss::for_rsa_encryption;
use crate::crypto;
use crate::error::Error;
use crate::vault::{KeyRow, ToSign};

/// What GnuTLS signs with each key that it loads, to see whether it is that of the certificate: the text, or its SHA-256.
const SELF_TEST: &[u8] = b"test text";

/// The scheme by which the key of this certificate makes the signatures of `scheme`. A program that uses a token does not know the
/// schemes of keys for RSASSA-PSS alone.
pub(super) fn scheme_of(certificate: &Certificate, scheme: SignatureScheme) -> SignatureScheme {
    let is_same = |known: &SignatureScheme| *known == scheme || for_rsa_encryption(*known) == Some(scheme);
    certificate.schemes().find(is_same).unwrap_or(scheme)
}

/// Whether GnuTLS signs this to test a key. Anyone may have such a signature: it proves nothing.
pub(super) fn is_self_test(what: ToSign<'_>) -> bool {
    match what {
        ToSign::Message(message) => message == SELF_TEST,
        ToSign::Digest(digest) => digest == crypto::sha256(SELF_TEST),
    }
}

/// Checks that the owner of a key permits this signature. The key must have been opened in its row.
///
/// # Errors
/// [`Error::NotPermitted`].
pub(super) fn check_permitted(
    row: &KeyRow,
    certificate: &[u8],
    scheme: SignatureScheme,
    what: ToSign<'_>,
) -> Result<(), Error> {
    let not_permitted = |reason: &str| Err(Error::NotPermitted { name: row.name.clone(), reason: reason.to_owned() });
    match (row.permit.within(row.requires_tls13).permission, what) {
        (Permission::Off, _) => not_permitted("signs nothing for other programs"),
        (Permission::Any, _) => Ok(()),
        (Permission::Tls, what) if is_self_test(what) => Ok(()),
        (Permission::Tls, ToSign::Digest(_)) => {
            not_permitted("signs whole TLS messages for other programs, and this program sends a digest")
        }
        (Permission::Tls, ToSign::Message(message)) if transcript::is_tls13(message) => Ok(()),
        (Permission::Tls, ToSign::Message(message)) => match transcript::is_tls12(message, certificate, scheme) {
            true if row.requires_tls13 => not_permitted("requires TLS 1.3, and this program wants to use TLS 1.2"),
            true => Ok(()),
            false => not_permitted("signs whole TLS messages for other programs, and this is none"),
        },
    }
}
