//! Certificates and keys in PEM (RFC 7468) and DER.
//!
//! [`Reading`] decides by content. PEM text may hold any mix of certificates, PKCS#8, PKCS#1 and SEC 1 keys, encrypted in
//! either of OpenSSL's ways, PKCS#7, and PKCS#12; text between the blocks is ignored, except for a friendlyName. DER holds one
//! of these, or several one after the other. A binary file may also be a Java keystore. `docs/pkcs12.md` has the table.

use zeroize::Zeroizing;

use crate::error::file::Error;
use crate::file::contents::{CertificateBag, Contents, Damaged, KeyBag};
use crate::file::jks;
use crate::file::limits::Budget;
use crate::file::pkcs12::{self, Candidates, Shape, shape};
use block::Block;
use structure::Item;

mod block;
mod structure;
mod traditional;

/// A file while it is read.
pub(super) struct Reading<'a, 'b> {
    candidates: &'a mut Candidates,
    budget: &'a mut Budget<'b>,
    /// Whether private keys are ignored.
    only_certificates: bool,
    contents: Contents,
    /// Keys that are not decrypted yet.
    locked: Vec<Locked>,
    /// Something else in the file.
    other: Option<&'static str>,
    /// How many PKCS#12 structures and Java keystores were read: each holds both keys and certificates.
    containers: usize,
}

/// A private key that is not decrypted yet.
struct Locked {
    cipher: Cipher,
    friendly_name: Option<String>,
}

enum Cipher {
    /// DER of an EncryptedPrivateKeyInfo.
    Pkcs8(Vec<u8>),
    Traditional(traditional::Ciphertext),
}

impl<'a, 'b> Reading<'a, 'b> {
    pub(super) fn new(candidates: &'a mut Candidates, budget: &'a mut Budget<'b>, only_certificates: bool) -> Self {
        let (contents, locked) = (Contents::default(), Vec::new());
        Self { candidates, budget, only_certificates, contents, locked, other: None, containers: 0 }
    }

    /// Reads PEM text.
    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), Error> {
        block::blocks(text)?.into_iter().try_for_each(|block| self.block(&block))
    }

    /// Reads DER, or PKCS#12 in BER: one element, or several one after the other. A value in a text may have words after it.
    pub(super) fn binary(&mut self, bytes: &[u8], is_value: bool) -> Result<(), Error> {
        if shape(bytes) == Shape::Pfx {
            return self.pkcs12(bytes);
        }
        if jks::is_keystore(bytes) {
            let contents = jks::read(bytes, self.candidates, self.budget.limits, self.only_certificates)?;
            return self.container(contents);
        }
        let mut rest = bytes;
        loop {
            let (item, used) = structure::item(rest).map_err(|error| not_der(rest, error))?;
            self.add(item, None)?;
            rest = rest.get(used..).unwrap_or_default();
            if rest.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
                return Ok(());
            }
            if structure::item(rest).is_err() {
                return if is_value { Ok(()) } else { Err(Error::TrailingBytes { count: rest.len() }) };
            }
        }
    }

    /// Notes a certificate that cannot be read.
    pub(super) fn add_damaged(&mut self, error: Error, friendly_name: Option<String>) -> Result<(), Error> {
        self.check_entries()?;
        self.contents.damaged.push(Damaged { error, friendly_name });
        Ok(())
    }

    /// Everything that was read, and whether it was one PKCS#12 file and nothing else.
    pub(super) fn finish(mut self) -> Result<(Contents, bool), Error> {
        let is_pkcs12 = self.containers == 1;
        self.unlock()?;
        let Contents { certificates, keys, damaged, .. } = &self.contents;
        match (self.other, damaged.first()) {
            _ if !certificates.is_empty() || !keys.is_empty() || self.containers > 0 => Ok((self.contents, is_pkcs12)),
            (_, Some(damaged)) => Err(damaged.error.clone()),
            (Some(found), None) => Err(Error::NothingUseful { found: found.to_owned() }),
            (None, None) => Ok((self.contents, is_pkcs12)),
        }
    }

    fn block(&mut self, block: &Block<'_>) -> Result<(), Error> {
        if self.only_certificates && block.is_private_key() {
            return Ok(());
        }
        let decoded = block.decode();
        if let Ok(bytes) = &decoded
            && shape(bytes) == Shape::Pfx
        {
            return self.pkcs12(bytes);
        }
        match block.passed_over() {
            Ok(None) => {}
            Ok(Some(found)) => {
                self.other.get_or_insert(found);
                return Ok(());
            }
            // The certificates of the other blocks are not affected
            Err(error) if self.only_certificates => return self.add_damaged(error, None),
            Err(error) => return Err(error),
        }
        let friendly_name = block.friendly_name.map(str::to_owned);
        if let Some(info) = block.header("DEK-Info") {
            let cipher = Cipher::Traditional(traditional::Ciphertext::read(info, decoded?)?);
            self.check_entries()?;
            self.locked.push(Locked { cipher, friendly_name });
            return Ok(());
        }
        match decoded.and_then(|bytes| structure::item(&bytes).map_err(|error| block.damaged(&error))) {
            // In a TRUSTED CERTIFICATE, OpenSSL's own trust data follows the certificate
            Ok((item, _)) => self.add(item, friendly_name),
            Err(error) if block.is_private_key() => Err(error),
            Err(error) => self.add_damaged(error, friendly_name),
        }
    }

    fn pkcs12(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let contents = pkcs12::read(bytes, self.candidates, self.budget)?;
        self.container(contents)
    }

    /// Adds what a file of certificates and keys holds.
    fn container(&mut self, contents: Contents) -> Result<(), Error> {
        self.containers += 1;
        self.contents.extend(contents);
        self.budget.limits.check_entries(self.contents.len() + self.locked.len())
    }

    fn add(&mut self, item: Item, friendly_name: Option<String>) -> Result<(), Error> {
        self.check_entries()?;
        let Contents { certificates, keys, .. } = &mut self.contents;
        match item {
            Item::Certificate(der) => certificates.push(CertificateBag { der, friendly_name, local_key_id: None }),
            Item::Certificates(set) => {
                structure::certificates(&set).try_for_each(|der| self.add(Item::Certificate(der), None))?;
            }
            Item::Key(_) | Item::EncryptedKey(_) if self.only_certificates => {
                self.other.get_or_insert("a private key");
            }
            Item::Key(pkcs8) => keys.push(KeyBag { pkcs8, friendly_name, local_key_id: None }),
            Item::EncryptedKey(der) => self.locked.push(Locked { cipher: Cipher::Pkcs8(der), friendly_name }),
            Item::Other(found) => {
                self.other.get_or_insert(found);
            }
        }
        Ok(())
    }

    /// Checks that there is room for one entry more.
    fn check_entries(&self) -> Result<(), Error> {
        self.budget.limits.check_entries(self.contents.len() + self.locked.len() + 1)
    }

    /// Decrypts the private keys. Those in OpenSSL's own form take one round, so they come first.
    fn unlock(&mut self) -> Result<(), Error> {
        let (mut encrypted, mut names) = (Vec::new(), Vec::new());
        let (mut opened, mut still_locked) = (Vec::new(), 0);
        for Locked { cipher, friendly_name } in std::mem::take(&mut self.locked) {
            match cipher {
                Cipher::Pkcs8(der) => {
                    encrypted.push(der);
                    names.push(friendly_name);
                }
                Cipher::Traditional(key) => match key.open(self.candidates) {
                    Some(pkcs8) => opened.push((pkcs8, friendly_name)),
                    None => still_locked += 1,
                },
            }
        }
        if !encrypted.is_empty() {
            let is_proven = !opened.is_empty() || self.containers > 0;
            let keys = pkcs12::open_keys(&encrypted, self.candidates, self.budget, is_proven)?;
            for (key, friendly_name) in keys.into_iter().zip(names) {
                match key {
                    Some(pkcs8) => opened.push((pkcs8, friendly_name)),
                    None => still_locked += 1,
                }
            }
        }
        if still_locked > 0 {
            let is_proven = !opened.is_empty() || self.containers > 0;
            return Err(if is_proven { Error::SeveralPasswords } else { Error::WrongPassword });
        }
        let named =
            |(pkcs8, friendly_name): (Zeroizing<Vec<u8>>, _)| KeyBag { pkcs8, friendly_name, local_key_id: None };
        self.contents.keys.extend(opened.into_iter().map(named));
        Ok(())
    }
}

/// The error for bytes that are not DER: they are something else, truncated or damaged.
fn not_der(bytes: &[u8], error: Error) -> Error {
    if bytes.first() == Some(&0x30) {
        return error;
    }
    let found = match shape(bytes) {
        Shape::Foreign(name) => Some(name.to_owned()),
        _ => None,
    };
    Error::Unrecognised { found }
}
