//! Certificates and keys in PEM (RFC 7468) and DER files: bytes and a password to the same plain [`Contents`] that
//! PKCS#12 files give.
//!
//! [`read`] decides by content. PEM text may hold any mix of certificates, PKCS#8, PKCS#1 and SEC 1 keys, encrypted in
//! either of OpenSSL's ways, and PKCS#7; text around the blocks is passed over, but for the friendlyName in it. A DER
//! file holds one of these. `docs/pkcs12.md` has the table.
//!
//! # Example
//!
//! ```
//! use cardcase::file::pem;
//! use cardcase::file::pkcs12::Limits;
//!
//! # let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/server/localhost.pem"));
//! // A certificate and the intermediate above it
//! let contents = pem::read(file, "", &Limits::default())?;
//! assert_eq!(contents.certificates.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;

use base64::Engine;

use crate::file::pkcs12;
use crate::file::pkcs12::{CertificateBag, Contents, KeyBag, Limits};
use block::{BASE64, Block};
use structure::Item;

mod block;
mod error;
mod structure;
mod traditional;

pub use error::Error;

/// Reads a PEM or DER file.
///
/// What needs no password is read with any. All encrypted keys of a file have the same.
///
/// # Errors
/// [`Error`] says what is wrong. Only what [`Error::is_password`] says so of is worth another try.
pub fn read(input: &[u8], password: &str, limits: &Limits) -> Result<Contents, Error> {
    limits.check_file_size(input.len())?;
    let mut reading = Reading::new(limits);
    match block::blocks(input)? {
        blocks if blocks.is_empty() => reading.file(&binary(input))?,
        blocks => blocks.into_iter().try_for_each(|block| reading.block(block, password))?,
    }
    reading.finish(password)
}

/// Bare base64 decoded, everything else as it is.
fn binary(input: &[u8]) -> Cow<'_, [u8]> {
    let letters = || input.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    match letters().next() {
        // What base64 of any SEQUENCE begins with
        Some(b'M') => BASE64.decode(letters().collect::<Vec<u8>>()).map_or(Cow::Borrowed(input), Cow::Owned),
        _ => Cow::Borrowed(input),
    }
}

/// What was found so far.
struct Reading<'a> {
    limits: &'a Limits,
    contents: Contents,
    /// Keys still encrypted.
    locked: Vec<Vec<u8>>,
    /// The names of those.
    names: Vec<Option<String>>,
    /// Something of no use here.
    other: Option<&'static str>,
}

impl<'a> Reading<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, contents: Contents::default(), locked: Vec::new(), names: Vec::new(), other: None }
    }

    /// A file that is no PEM.
    fn file(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (item, used) = structure::item(bytes).map_err(|error| not_der(bytes, error))?;
        let trailing = bytes.get(used..).unwrap_or_default();
        if !trailing.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Err(Error::Trailing { count: trailing.len() });
        }
        self.add(item, None)
    }

    fn block(&mut self, block: Block<'_>, password: &str) -> Result<(), Error> {
        if let Some(found) = block.passed_over()? {
            self.other.get_or_insert(found);
            return Ok(());
        }
        let name = block.friendly_name.map(str::to_owned);
        let bytes = block.decode()?;
        let item = match block.header("DEK-Info") {
            Some(info) => Item::Key(traditional::open(info, &bytes, password)?),
            // What follows the certificate in a TRUSTED CERTIFICATE is OpenSSL's own idea of trust
            None => structure::item(&bytes).map_err(|error| block.damaged(&error))?.0,
        };
        self.add(item, name)
    }

    fn add(&mut self, item: Item, friendly_name: Option<String>) -> Result<(), Error> {
        let Contents { certificates, keys, .. } = &mut self.contents;
        self.limits.check_entries(certificates.len() + keys.len() + self.locked.len() + 1)?;
        match item {
            Item::Certificate(der) => {
                certificates.push(CertificateBag { friendly_name, ..CertificateBag::of_der(der) })
            }
            Item::Certificates(set) => {
                structure::certificates(&set).try_for_each(|der| self.add(Item::Certificate(der), None))?;
            }
            Item::Key(pkcs8) => keys.push(KeyBag { friendly_name, ..KeyBag::of_pkcs8(pkcs8) }),
            Item::EncryptedKey(der) => {
                self.locked.push(der);
                self.names.push(friendly_name);
            }
            Item::Other(found) => {
                self.other.get_or_insert(found);
            }
        }
        Ok(())
    }

    fn finish(mut self, password: &str) -> Result<Contents, Error> {
        if !self.locked.is_empty() {
            let keys = pkcs12::open_keys(&self.locked, password, self.limits).map_err(|error| match error {
                pkcs12::Error::ContentPassword => Error::SeveralPasswords,
                error => error.into(),
            })?;
            let keys = keys.into_iter().zip(self.names);
            let named = keys.map(|(pkcs8, friendly_name)| KeyBag { friendly_name, ..KeyBag::of_pkcs8(pkcs8) });
            self.contents.keys.extend(named);
        }
        match self.other {
            Some(found) if self.contents.certificates.is_empty() && self.contents.keys.is_empty() => {
                Err(Error::OfNoUse { found })
            }
            _ => Ok(self.contents),
        }
    }
}

/// Why a file is not DER: it is something else, or was cut short, or damaged.
fn not_der(bytes: &[u8], error: pkcs12::Error) -> Error {
    if bytes.first() == Some(&0x30) {
        return error.into();
    }
    Error::NotPem { found: pkcs12::looks_like(bytes) }
}
