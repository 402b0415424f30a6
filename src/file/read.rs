//! The one reader: recognises what the bytes of a file are, and reads them.

use crate::certificate::Certificate;
use crate::certificate::import::{FoundCertificate, FoundKey, Import};
use crate::certificate::private_key::PrivateKey;
use crate::error;
use crate::error::file::Error;
use crate::file::contents::{CertificateBag, Contents, KeyBag};
use crate::file::limits::Limits;
use crate::file::pem;
use crate::file::pkcs12::{self, Recognised};

/// Key derivations in one file, counting each encoding of the password.
const DERIVATIONS: u64 = 20;

/// Reads a file of certificates and private keys: PKCS#12, PEM or DER.
///
/// No password and the empty password are the same: `""`. A file that needs no password can be read with any. All
/// encrypted parts of a file must have the same password.
///
/// A file that needs very much work or memory is refused before the work begins: more than 10 million rounds in one key
/// derivation (see [`read_with_iterations`]) or 200 million in all, or 1 GiB of memory for scrypt.
///
/// # Errors
/// [`Error`] says what is wrong. Where [`Error::is_password`] holds, ask for a password and try again.
pub fn read(bytes: &[u8], password: &str) -> Result<Import, Error> {
    import(bytes, password, &Limits::default())
}

/// [`read`] with another limit for the rounds of one key derivation.
///
/// # Errors
/// Those of [`read`].
pub fn read_with_iterations(bytes: &[u8], password: &str, max_iterations: u64) -> Result<Import, Error> {
    let default = Limits::default();
    // Whoever allows more rounds for one derivation allows more in all, since each derivation of a file has as many
    let total_iterations = default.total_iterations.max(max_iterations.saturating_mul(DERIVATIONS));
    import(bytes, password, &Limits { iterations: max_iterations, total_iterations, ..default })
}

/// Reads only the certificates of a file of any kind that [`read`] accepts, such as a bundle of CA certificates. Private keys
/// of a PEM or DER file are ignored, so they need no password.
///
/// # Errors
/// Those of [`read`].
pub fn read_certificates(bytes: &[u8], password: &str) -> Result<Vec<Certificate>, Error> {
    let limits = Limits::default();
    limits.check_file_size(bytes.len())?;
    let contents = match pkcs12::recognise(bytes) {
        Recognised::Pkcs12(binary) => pkcs12::read(&binary, password, &limits)?,
        Recognised::Other(_) => pem::read_certificates(bytes, &limits)?,
    };
    if contents.has_locked_safe() {
        return Err(Error::ContentPassword);
    }
    contents.certificates.into_iter().map(|bag| Ok(certificate(bag)?.certificate)).collect()
}

pub(super) fn import(bytes: &[u8], password: &str, limits: &Limits) -> Result<Import, Error> {
    let (contents, is_pkcs12) = contents(bytes, password, limits)?;
    let has_locked_part = contents.has_locked_part();
    let certificates = contents.certificates.into_iter().map(certificate).collect::<Result<_, _>>()?;
    let keys = contents.keys.into_iter().map(key).collect();
    Ok(Import::from_file(certificates, keys, is_pkcs12, has_locked_part))
}

/// What a file holds, and whether it is PKCS#12.
pub(super) fn contents(bytes: &[u8], password: &str, limits: &Limits) -> Result<(Contents, bool), Error> {
    limits.check_file_size(bytes.len())?;
    match pkcs12::recognise(bytes) {
        Recognised::Pkcs12(binary) => Ok((pkcs12::read(&binary, password, limits)?, true)),
        Recognised::Other(_) => Ok((pem::read(bytes, password, limits)?, false)),
    }
}

fn certificate(bag: CertificateBag) -> Result<FoundCertificate, Error> {
    let certificate = Certificate::from_der(bag.der).map_err(|error| match error {
        error::Error::Certificate { detail } => Error::Certificate { detail },
        other => Error::Certificate { detail: other.to_string() },
    })?;
    Ok(FoundCertificate::new(certificate, bag.friendly_name, bag.local_key_id))
}

fn key(bag: KeyBag) -> FoundKey {
    FoundKey::new(PrivateKey::from_pkcs8(bag.pkcs8), bag.friendly_name, bag.local_key_id)
}
