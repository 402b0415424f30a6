//! Java keystores of the old form (JKS), which Java wrote by default before version 9.
//!
//! The format is Sun's own: a list of entries, and at the end a digest of the password and of everything before it. Each private key is
//! encrypted by itself, with a stream that SHA-1 makes of the password. There are no rounds, so a derivation costs nothing.

use der::asn1::OctetStringRef;
use der::{Decode, Sequence};
use pkcs8::AlgorithmIdentifierRef;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::error::file::{Error, damaged};
use crate::file::contents::{CertificateBag, Contents, Damaged, KeyBag, PassedOver};
use crate::file::limits::Limits;
use crate::file::pkcs12::{Candidates, Form};

/// The first bytes.
const MAGIC: u32 = 0xfeed_feed;
const PRIVATE_KEY: u32 = 1;
const CERTIFICATE: u32 = 2;

/// Sun's own encryption of a private key.
const KEY_PROTECTOR: &str = "1.3.6.1.4.1.42.2.17.1.1";

/// What the digest at the end begins with, after the password.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// SHA-1, in bytes.
const DIGEST: usize = 20;

/// EncryptedPrivateKeyInfo (RFC 5958 section 3).
#[derive(Sequence)]
struct Protected<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    value: &'a OctetStringRef,
}

/// Reads a keystore. A private key with another password is passed over. Certificates need no password: with `only_certificates`, the
/// digest at the end is not checked.
///
/// # Errors
/// [`Error::WrongPassword`]; [`Error::Damaged`], [`Error::Truncated`], [`Error::Unsupported`], [`Error::TooCostly`].
pub(super) fn read(
    bytes: &[u8],
    candidates: &mut Candidates,
    limits: &Limits,
    only_certificates: bool,
) -> Result<Contents, Error> {
    // The form of PKCS#12 ends with a zero, which Java's does not
    let passwords: Vec<Zeroizing<Vec<u8>>> = candidates
        .of(Form::Pkcs12)
        .map(|password| Zeroizing::new(password.strip_suffix(&[0, 0]).unwrap_or(password).to_vec()))
        .collect();
    let mut reader = Reader { rest: bytes, size: bytes.len() };
    if reader.number()? != MAGIC {
        return Err(damaged("the first bytes of a Java keystore"));
    }
    let version = reader.number()?;
    if !(1..=2).contains(&version) {
        let name = format!("version {version}");
        return Err(Error::Unsupported {
            what: "Java keystore",
            name,
            advice: "convert it with keytool -importkeystore",
        });
    }
    let count = reader.number()?;
    let entries = usize::try_from(count).unwrap_or(usize::MAX);
    limits.check_entries(entries)?;
    let (mut contents, mut protected) = (Contents::default(), Vec::new());
    for _ in 0..entries {
        let kind = reader.number()?;
        let alias = reader.text()?;
        let _created = reader.take(8)?;
        match kind {
            PRIVATE_KEY => {
                protected.push((reader.long()?, alias.clone()));
                for position in 0..reader.number()? {
                    let name = (position == 0).then(|| alias.clone());
                    reader.certificate(version, name, &mut contents)?;
                    limits.check_entries(contents.len())?;
                }
            }
            CERTIFICATE => reader.certificate(version, Some(alias), &mut contents)?,
            _ => return Err(damaged("an entry of a Java keystore")),
        }
        limits.check_entries(contents.len() + protected.len())?;
    }
    let signed = bytes.get(..bytes.len() - reader.rest.len()).unwrap_or_default();
    let expected = reader.take(DIGEST)?;
    if !reader.rest.is_empty() {
        return Err(Error::TrailingBytes { count: reader.rest.len() });
    }
    if only_certificates {
        return Ok(contents);
    }
    let is_right = |password: &&Zeroizing<Vec<u8>>| {
        *Sha1::new().chain_update(password.as_slice()).chain_update(WHITENER).chain_update(signed).finalize()
            == *expected
    };
    if !passwords.iter().any(|password| is_right(&password)) {
        return Err(Error::WrongPassword);
    }
    for (key, alias) in protected {
        let Some(value) = protected_value(key)? else {
            contents.passed_over.push(PassedOver::UnknownCipher(alias));
            continue;
        };
        let friendly_name = Some(alias);
        match open(value, &passwords)? {
            Some(pkcs8) => contents.keys.push(KeyBag { pkcs8, friendly_name, local_key_id: None }),
            None => contents.passed_over.push(PassedOver::LockedKey { friendly_name, local_key_id: None }),
        }
    }
    Ok(contents)
}

/// Whether these bytes are the beginning of a keystore.
pub(super) fn is_keystore(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_be_bytes())
}

/// The encrypted private key; `None` if it is encrypted in another way than Sun's own.
fn protected_value(key: &[u8]) -> Result<Option<&[u8]>, Error> {
    let Protected { algorithm, value } =
        Protected::from_der(key).map_err(|_| damaged("an encrypted private key of a Java keystore"))?;
    Ok((algorithm.oid.to_string() == KEY_PROTECTOR).then(|| value.as_bytes()))
}

/// Decrypts a private key with the password that fits, if one does.
fn open(value: &[u8], passwords: &[Zeroizing<Vec<u8>>]) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let parts = value.split_at_checked(DIGEST).and_then(|(salt, rest)| {
        let (encrypted, check) = rest.split_at_checked(rest.len().checked_sub(DIGEST)?)?;
        Some((salt, encrypted, check))
    });
    let (salt, encrypted, check) = parts.ok_or_else(|| damaged("an encrypted private key of a Java keystore"))?;
    for password in passwords {
        let mut plain = Zeroizing::new(encrypted.to_vec());
        let mut stream = Zeroizing::new(salt.to_vec());
        for chunk in plain.chunks_mut(DIGEST) {
            stream = Zeroizing::new(Sha1::new().chain_update(password).chain_update(&stream).finalize().to_vec());
            chunk.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
        }
        if *Sha1::new().chain_update(password).chain_update(&plain).finalize() == *check {
            return Ok(Some(plain));
        }
    }
    Ok(None)
}

/// What is left of the file, as Java's DataOutputStream wrote it.
struct Reader<'a> {
    rest: &'a [u8],
    /// Of the whole file, in bytes.
    size: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let missing = length.saturating_sub(self.rest.len()) as u64;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated { at: self.size, missing })?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, Error> {
        Ok(self.take(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// Bytes after their length.
    fn long(&mut self) -> Result<&'a [u8], Error> {
        let length = self.number()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Text after its length.
    fn text(&mut self) -> Result<String, Error> {
        let length = self.take(2)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        Ok(text(self.take(length)?))
    }

    /// A certificate, before which version 2 has its type.
    fn certificate(&mut self, version: u32, name: Option<String>, contents: &mut Contents) -> Result<(), Error> {
        let kind = if version == 1 { "X.509".to_owned() } else { self.text()? };
        let der = self.long()?.to_vec();
        match kind.as_str() {
            "X.509" | "X509" => {
                contents.certificates.push(CertificateBag { der, friendly_name: name, local_key_id: None });
            }
            other => {
                let detail = format!("a certificate of the type {other:?}");
                contents.damaged.push(Damaged { error: Error::Certificate { detail }, friendly_name: name });
            }
        }
        Ok(())
    }
}

/// Text as Java's DataOutputStream writes it: each unit of UTF-16 by itself as UTF-8 has it, and a zero as two bytes. Other programs
/// write plain UTF-8, which differs only where it is not valid for the other.
fn text(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let (mut units, mut rest) = (Vec::new(), bytes);
    while let Some((&first, tail)) = rest.split_first() {
        let bits = |byte: u8| u16::from(byte & 0x3f);
        let first_bits = u16::from(first);
        let (unit, tail) = match (first, tail) {
            (..0x80, _) => (first_bits, tail),
            (0xc0..0xe0, [second @ 0x80..0xc0, tail @ ..]) => ((first_bits & 0x1f) << 6 | bits(*second), tail),
            (0xe0..0xf0, [second @ 0x80..0xc0, third @ 0x80..0xc0, tail @ ..]) => {
                ((first_bits & 0xf) << 12 | bits(*second) << 6 | bits(*third), tail)
            }
            _ => (char::REPLACEMENT_CHARACTER as u16, tail),
        };
        units.push(unit);
        rest = tail;
    }
    String::from_utf16_lossy(&units)
}
