//! The one reader: takes the wrapping off a file, and reads what is inside.

use crate::certificate::Certificate;
use crate::certificate::import::{FoundCertificate, FoundKey, Import, LeftOut};
use crate::certificate::private_key::PrivateKey;
use crate::error;
use crate::error::file::Error;
use crate::file::contents::{CertificateBag, Contents, Damaged, KeyBag, PassedOver};
use crate::file::limits::{Budget, Limits};
use crate::file::pem::Reading;
use crate::file::pkcs12::Candidates;
use crate::file::wrapping::{Bytes, Part, unwrap};

/// Reads a file of certificates and private keys: PKCS#12, PEM or DER, also in base64 or as values in a configuration file.
///
/// No password and the empty password are the same: `""`. A file that needs no password can be read with any. Where a part of the
/// file has another password, [`read_with`] takes both.
///
/// A file that needs very much work or memory is refused before the work begins: more than 10 million rounds in one key
/// derivation or 200 million in all, as much work for the missing numbers of RSA keys, or 1 GiB of memory for scrypt.
///
/// # Errors
/// [`Error`] says what is wrong. Where [`Error::is_password`] holds, ask for a password and try again: for the password of the
/// file after [`Error::WrongPassword`], and for that of the private keys after [`Error::ContentPassword`] and
/// [`Error::SeveralPasswords`]. A certificate that cannot be read is no error here: [`Import::pair`] decides whether it is
/// needed.
pub fn read(bytes: &[u8], password: &str) -> Result<Import, Error> {
    read_with(bytes, password, None, None)
}

/// [`read`] with a second password, and with another limit for the rounds of one key derivation.
///
/// `key_password` is that of the private keys, or of whatever `password` does not open. Java's keystores may have two passwords,
/// and each key of a PEM file one of its own.
///
/// # Errors
/// Those of [`read`].
pub fn read_with(
    bytes: &[u8],
    password: &str,
    key_password: Option<&str>,
    max_iterations: Option<u64>,
) -> Result<Import, Error> {
    import(bytes, candidates(password, key_password), &Limits::with_iterations(max_iterations))
}

/// Reads only the certificates of a file of any kind that [`read`] accepts, such as a bundle of CA certificates. Private keys in
/// PEM or DER are ignored, so they need no password. [`Import::certificates`] has the certificates, and [`Import::left_out`] those
/// that cannot be read.
///
/// # Errors
/// Those of [`read`].
pub fn read_certificates(bytes: &[u8], password: &str) -> Result<Import, Error> {
    let (mut contents, is_pkcs12) = contents(bytes, candidates(password, None), &Limits::default(), true)?;
    if contents.has_locked_safe() {
        return Err(Error::ContentPassword);
    }
    contents.keys.clear();
    Ok(found(contents, is_pkcs12))
}

fn candidates(password: &str, key_password: Option<&str>) -> Candidates {
    let mut candidates = Candidates::new(password);
    key_password.into_iter().for_each(|second| candidates.add(second));
    candidates
}

pub(super) fn import(bytes: &[u8], candidates: Candidates, limits: &Limits) -> Result<Import, Error> {
    let (contents, is_pkcs12) = contents(bytes, candidates, limits, false)?;
    complete(contents, is_pkcs12)
}

/// What was found, if all of it could be decrypted. This error comes before those about damage: with the right password, there
/// may be more to say.
pub(super) fn complete(contents: Contents, is_pkcs12: bool) -> Result<Import, Error> {
    if contents.has_locked_part() { Err(Error::ContentPassword) } else { Ok(found(contents, is_pkcs12)) }
}

/// What a file holds, and whether it is PKCS#12.
pub(super) fn contents(
    bytes: &[u8],
    mut candidates: Candidates,
    limits: &Limits,
    only_certificates: bool,
) -> Result<(Contents, bool), Error> {
    limits.check_file_size(bytes.len())?;
    let unwrapped = unwrap(bytes)?;
    let mut budget = Budget::new(limits);
    let mut reading = Reading::new(&mut candidates, &mut budget, only_certificates);
    let is_alone = unwrapped.parts.len() == 1;
    for part in &unwrapped.parts {
        let read = match part {
            Part::Pem(text) => reading.text(text),
            Part::Binary(bytes) => reading.binary(bytes, matches!(bytes, Bytes::Owned(_))),
        };
        match read {
            // One invalid value in a configuration file must not hide the others
            Err(error) if !is_alone && !error.is_password() => reading.add_damaged(error, None)?,
            read => read?,
        }
    }
    let (mut contents, is_pkcs12) = reading.finish()?;
    limits.check_rsa_work(contents.keys.iter().map(|key| PrivateKey::work(&key.pkcs8)).sum())?;
    contents.passed_over.extend(unwrapped.named_files.into_iter().map(PassedOver::NamedFile));
    Ok((contents, is_pkcs12))
}

fn found(contents: Contents, is_pkcs12: bool) -> Import {
    let Contents { certificates, keys, damaged, passed_over } = contents;
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for bag in certificates {
        let name = bag.friendly_name.clone();
        match certificate(bag) {
            Ok(certificate) => whole.push(certificate),
            Err(error) => broken.push(left_out(error, name)),
        }
    }
    broken.extend(damaged.into_iter().map(|Damaged { error, friendly_name }| left_out(error, friendly_name)));
    broken.extend(passed_over.into_iter().filter_map(|passed| {
        let (what, why) = passed.told()?;
        Some(LeftOut::other(what, why))
    }));
    Import::from_file(whole, keys.into_iter().map(key).collect(), broken, is_pkcs12)
}

fn left_out(error: Error, name: Option<String>) -> LeftOut {
    let what = name.map_or("a certificate".to_owned(), |name| format!("the certificate {name:?}"));
    LeftOut::damaged(what, error)
}

fn certificate(bag: CertificateBag) -> Result<FoundCertificate, Error> {
    let certificate = Certificate::from_der(bag.der).map_err(|error| match error {
        error::Error::Certificate { detail } => Error::Certificate { detail },
        other => Error::Certificate { detail: other.to_string() },
    })?;
    Ok(FoundCertificate::new(certificate, bag.friendly_name, bag.local_key_id))
}

fn key(bag: KeyBag) -> FoundKey {
    FoundKey::new(PrivateKey::from_foreign(bag.pkcs8), bag.friendly_name, bag.local_key_id)
}
