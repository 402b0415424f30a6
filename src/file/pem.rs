//! Certificates and keys in PEM (RFC 7468) and DER files.
//!
//! [`read`] decides by content. PEM text may hold any mix of certificates, PKCS#8, PKCS#1 and SEC 1 keys, encrypted in
//! either of OpenSSL's ways, and PKCS#7; text between the blocks is ignored, except for a friendlyName. A DER file holds one
//! of these. `docs/pkcs12.md` has the table.

use std::borrow::Cow;

use base64::Engine;

use crate::error::file::Error;
use crate::file::contents::{CertificateBag, Contents, KeyBag};
use crate::file::limits::Limits;
use crate::file::pkcs12;
use crate::file::pkcs12::Recognised;
use block::{BASE64, Block};
use structure::Item;

mod block;
mod structure;
mod traditional;

/// Reads a PEM or DER file, whose size is within the limits.
pub(super) fn read(input: &[u8], password: &str, limits: &Limits) -> Result<Contents, Error> {
    let mut reading = Reading::new(limits);
    match block::blocks(input)? {
        blocks if blocks.is_empty() => reading.file(&binary(input))?,
        blocks => blocks.into_iter().try_for_each(|block| reading.block(block, password))?,
    }
    reading.finish(password)
}

/// Reads only the certificates of a PEM or DER file. Private keys are not looked at, so they need no password.
pub(super) fn read_certificates(input: &[u8], limits: &Limits) -> Result<Contents, Error> {
    let mut reading = Reading::new(limits);
    match block::blocks(input)? {
        blocks if blocks.is_empty() => reading.file(&binary(input))?,
        blocks => {
            let mut others = blocks.into_iter().filter(|block| !block.is_private_key());
            others.try_for_each(|block| reading.block(block, ""))?;
        }
    }
    reading.locked.clear();
    reading.contents.keys.clear();
    reading.finish("")
}

/// Decodes a file that is only base64, and returns any other as it is.
fn binary(input: &[u8]) -> Cow<'_, [u8]> {
    let letters = || input.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    match letters().next() {
        // The base64 of every SEQUENCE begins with this letter
        Some(b'M') => BASE64.decode(letters().collect::<Vec<u8>>()).map_or(Cow::Borrowed(input), Cow::Owned),
        _ => Cow::Borrowed(input),
    }
}

/// A file while it is read.
struct Reading<'a> {
    limits: &'a Limits,
    contents: Contents,
    /// Keys that are not decrypted yet.
    locked: Vec<Vec<u8>>,
    /// The names of these keys.
    names: Vec<Option<String>>,
    /// Something else in the file.
    other: Option<&'static str>,
}

impl<'a> Reading<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, contents: Contents::default(), locked: Vec::new(), names: Vec::new(), other: None }
    }

    /// Reads a file that is not PEM.
    fn file(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (item, used) = structure::item(bytes).map_err(|error| not_der(bytes, error))?;
        let trailing = bytes.get(used..).unwrap_or_default();
        if !trailing.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Err(Error::TrailingBytes { count: trailing.len() });
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
            // In a TRUSTED CERTIFICATE, OpenSSL's own trust data follows the certificate
            None => structure::item(&bytes).map_err(|error| block.damaged(&error))?.0,
        };
        self.add(item, name)
    }

    fn add(&mut self, item: Item, friendly_name: Option<String>) -> Result<(), Error> {
        let Contents { certificates, keys, .. } = &mut self.contents;
        self.limits.check_entries(certificates.len() + keys.len() + self.locked.len() + 1)?;
        match item {
            Item::Certificate(der) => certificates.push(CertificateBag { der, friendly_name, local_key_id: None }),
            Item::Certificates(set) => {
                structure::certificates(&set).try_for_each(|der| self.add(Item::Certificate(der), None))?;
            }
            Item::Key(pkcs8) => keys.push(KeyBag { pkcs8, friendly_name, local_key_id: None }),
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
                Error::ContentPassword => Error::SeveralPasswords,
                error => error,
            })?;
            let keys = keys.into_iter().zip(self.names);
            let named = keys.map(|(pkcs8, friendly_name)| KeyBag { pkcs8, friendly_name, local_key_id: None });
            self.contents.keys.extend(named);
        }
        match self.other {
            Some(found) if self.contents.certificates.is_empty() && self.contents.keys.is_empty() => {
                Err(Error::NothingUseful { found })
            }
            _ => Ok(self.contents),
        }
    }
}

/// The error for a file that is not DER: it is something else, truncated or damaged.
fn not_der(bytes: &[u8], error: Error) -> Error {
    if bytes.first() == Some(&0x30) {
        return error;
    }
    match pkcs12::recognise(bytes) {
        Recognised::Other(found) => Error::Unrecognised { found },
        Recognised::Pkcs12(_) => error,
    }
}
