//! Writes a PKCS#12 file (RFC 7292): a safe of certificates, a safe with the keys, a MAC.
//!
//! Not every program reads all that the standard allows. So the certificates are in an EncryptedData, and each key in a shrouded
//! bag in a plain safe, as OpenSSL, NSS and Windows write. The only attributes are friendlyName and localKeyId. The key is
//! PKCS#8 of version 1, because OpenSSL 3.0 reads no other.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use der::Encode;
use hmac::{KeyInit, Mac, SimpleHmac};
use pkcs8::pkcs5::pbes2;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ber::{self, Elements, encode};
use super::hash::Hash;
use super::kdf::{self, Purpose};
use super::password::{Bytes, Candidates, Form};
use crate::error::file::{Error, damaged};

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 1.2.840.113549.1.7.6
const ENCRYPTED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
/// 1.2.840.113549.1.9.21
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
/// 1.2.840.113549.1.9.22.1
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
/// 1.2.840.113549.1.12.1.3
const SHA1_3DES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3];
/// 1.2.840.113549.1.12.10.1.2
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
/// 1.2.840.113549.1.12.10.1.3
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
/// 1.3.14.3.2.26
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
/// 2.16.840.1.101.3.4.2.1
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];

/// `[0] IMPLICIT OCTET STRING`
const CONTEXT_0_PRIMITIVE: u8 = 0x80;
const NULL: &[u8] = &[5, 0];

/// The algorithms that protect a file. Certificates, key and MAC have the same number of rounds, because an attacker guesses
/// passwords against the cheapest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Protection {
    /// AES-256-CBC, PBKDF2 with HMAC-SHA-256, MAC with HMAC-SHA-256. 150,000 rounds: .NET refuses files with
    /// very many rounds in all (KB5025823), and OpenSSL writes only 2048. docs/pkcs12.md has the reasons.
    #[default]
    Aes256,
    /// 3-key 3DES and MAC with SHA-1, for programs that cannot read AES: Windows before 10, older macOS and Java 8.
    /// 50,000 rounds, as Java wrote with these algorithms.
    Legacy,
}

impl Protection {
    fn rounds(self) -> u32 {
        match self {
            Self::Aes256 => 150_000,
            Self::Legacy => 50_000,
        }
    }
}

/// An identity in a file.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// DER of PrivateKeyInfo or OneAsymmetricKey (RFC 5958), not encrypted.
    pub(crate) pkcs8: &'a [u8],
    /// DER of the key's certificate.
    pub(crate) certificate: &'a [u8],
    /// The friendlyName.
    pub(crate) friendly_name: &'a str,
}

/// Shows no secret.
impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("friendly_name", &self.friendly_name).finish_non_exhaustive()
    }
}

/// The most identities in a file: [`read`](crate::file::read) allows 200 million rounds in all, with a few for the certificates and the MAC.
const MAX_ENTRIES: usize = 1_300;

/// Writes a PKCS#12 file with some identities and the CA certificates above them. This takes a key derivation for each identity, and two
/// more.
///
/// # Errors
/// [`Error::Damaged`] when a key is not PKCS#8; [`Error::Writing`] when there is no randomness, or when nobody could read the file.
pub(crate) fn write(
    entries: &[Entry<'_>],
    chain: &[&[u8]],
    password: &str,
    protection: Protection,
) -> Result<Vec<u8>, Error> {
    if entries.len() > MAX_ENTRIES {
        return Err(failed(format_args!("more than {MAX_ENTRIES} identities take too long to read from one file")));
    }
    let leaves = entries.iter().map(|entry| certificate_bag(entry.certificate, &attributes(entry)));
    let above = chain.iter().map(|certificate| certificate_bag(certificate, &[]));
    let certificates = leaves.chain(above).flat_map(|bag| bag.to_vec()).collect::<Vec<u8>>();
    let seal = Seal { password: Candidates::new(password), protection };
    let certificates = encrypted_data(&seal, &sequence(&[&certificates]))?;
    let keys = entries.iter().map(|entry| key_bag(&seal, entry.pkcs8, &attributes(entry)));
    let keys = keys.collect::<Result<Vec<Bytes>, Error>>()?;
    let keys: Vec<u8> = keys.iter().flat_map(|bag| bag.to_vec()).collect();
    let keys = typed(DATA, &encode(ber::OCTET_STRING, &sequence(&[&keys])), &[]);
    let safes = sequence(&[&certificates, &keys]);
    let mac = seal.mac(&safes)?;
    let content = typed(DATA, &encode(ber::OCTET_STRING, &safes), &[]);
    Ok(sequence(&[&[ber::INTEGER, 1, 3], &content, &mac]).to_vec())
}

/// The attributes of the key and of its certificate (RFC 7292 section 4.2): DER, the elements of a SET in order.
fn attributes(entry: &Entry<'_>) -> Vec<u8> {
    let name: Vec<u8> = entry.friendly_name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let mut attributes = vec![attribute(LOCAL_KEY_ID, ber::OCTET_STRING, &Sha1::digest(entry.certificate))];
    if !name.is_empty() {
        attributes.push(attribute(FRIENDLY_NAME, ber::BMP_STRING, &name));
    }
    attributes.sort();
    encode(ber::SET, &attributes.concat()).to_vec()
}

fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[&encode(ber::OBJECT_IDENTIFIER, oid), &encode(ber::SET, &encode(tag, value))]).to_vec()
}

fn certificate_bag(der: &[u8], attributes: &[u8]) -> Bytes {
    typed(CERTIFICATE_BAG, &typed(X509_CERTIFICATE, &encode(ber::OCTET_STRING, der), &[]), attributes)
}

fn key_bag(seal: &Seal, pkcs8: &[u8], attributes: &[u8]) -> Result<Bytes, Error> {
    let (algorithm, ciphertext) = seal.encrypt(&version_1(pkcs8)?)?;
    let encrypted = sequence(&[&algorithm, &encode(ber::OCTET_STRING, &ciphertext)]);
    Ok(typed(SHROUDED_KEY_BAG, &encrypted, attributes))
}

/// PrivateKeyInfo of RFC 5208 section 5, without attributes and without the public key of RFC 5958.
fn version_1(pkcs8: &[u8]) -> Result<Bytes, Error> {
    let fields = || {
        let mut fields = Elements(pkcs8).next_if(ber::SEQUENCE)?.children();
        fields.next_if(ber::INTEGER)?;
        Some((fields.next_if(ber::SEQUENCE)?, fields.next_if(ber::OCTET_STRING)?))
    };
    let (algorithm, key) = fields().ok_or_else(|| damaged("a private key"))?;
    Ok(sequence(&[&[ber::INTEGER, 1, 0], algorithm.whole, key.whole]))
}

/// A ContentInfo with EncryptedData (RFC 5652 section 8) around some data.
fn encrypted_data(seal: &Seal, plaintext: &[u8]) -> Result<Bytes, Error> {
    let (algorithm, ciphertext) = seal.encrypt(plaintext)?;
    let data = encode(ber::OBJECT_IDENTIFIER, DATA);
    let info = sequence(&[&data, &algorithm, &encode(CONTEXT_0_PRIMITIVE, &ciphertext)]);
    Ok(typed(ENCRYPTED_DATA, &sequence(&[&[ber::INTEGER, 1, 0], &info]), &[]))
}

/// `SEQUENCE { type, [0] EXPLICIT value, more }`, the form of ContentInfo, SafeBag and CertBag.
fn typed(oid: &[u8], value: &[u8], more: &[u8]) -> Bytes {
    sequence(&[&encode(ber::OBJECT_IDENTIFIER, oid), &encode(ber::CONTEXT_0, value), more])
}

fn sequence(parts: &[&[u8]]) -> Bytes {
    encode(ber::SEQUENCE, &Zeroizing::new(parts.concat()))
}

/// Encrypts and authenticates.
struct Seal {
    password: Candidates,
    protection: Protection,
}

impl Seal {
    /// The AlgorithmIdentifier and the ciphertext.
    fn encrypt(&self, plaintext: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        match self.protection {
            Protection::Aes256 => self.encrypt_aes(plaintext),
            Protection::Legacy => self.encrypt_3des(plaintext),
        }
    }

    fn encrypt_aes(&self, plaintext: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let (salt, iv) = (random::<16>()?, random::<16>()?);
        let rounds = self.protection.rounds();
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &salt, iv).map_err(failed)?;
        let ciphertext = parameters.encrypt(self.password(Form::Pkcs5), plaintext).map_err(failed)?;
        let algorithm = pkcs8::pkcs5::EncryptionScheme::from(parameters).to_der().map_err(failed)?;
        Ok((algorithm, ciphertext))
    }

    /// RFC 7292 appendix C.
    fn encrypt_3des(&self, plaintext: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let salt = random::<8>()?;
        let (password, rounds) = (self.password(Form::Pkcs12), self.protection.rounds());
        let derive = |purpose, size| kdf::pkcs12(Hash::Sha1, password, &salt, purpose, rounds.into(), size);
        let (key, iv) = (derive(Purpose::Key, 24), derive(Purpose::Iv, 8));
        let encryptor = cbc::Encryptor::<des::TdesEde3>::new_from_slices(&key, &iv).map_err(failed)?;
        let ciphertext = encryptor.encrypt_padded_vec::<Pkcs7>(plaintext);
        let parameters = sequence(&[&encode(ber::OCTET_STRING, &salt), &integer(rounds)]);
        let algorithm = sequence(&[&encode(ber::OBJECT_IDENTIFIER, SHA1_3DES), &parameters]).to_vec();
        Ok((algorithm, ciphertext))
    }

    /// MacData (RFC 7292 section 4), over the AuthenticatedSafe (section 5.1).
    fn mac(&self, content: &[u8]) -> Result<Bytes, Error> {
        let salt = random::<16>()?;
        let (hash, oid) = match self.protection {
            Protection::Aes256 => (Hash::Sha256, SHA256),
            Protection::Legacy => (Hash::Sha1, SHA1),
        };
        let (password, rounds) = (self.password(Form::Pkcs12), self.protection.rounds());
        let key = kdf::pkcs12(hash, password, &salt, Purpose::Mac, rounds.into(), hash.size());
        let digest = match self.protection {
            Protection::Aes256 => hmac_sha256(&key, content)?,
            Protection::Legacy => hmac_sha1(&key, content)?,
        };
        let algorithm = sequence(&[&encode(ber::OBJECT_IDENTIFIER, oid), NULL]);
        let info = sequence(&[&algorithm, &encode(ber::OCTET_STRING, &digest)]);
        Ok(sequence(&[&info, &encode(ber::OCTET_STRING, &salt), &integer(rounds)]))
    }

    /// The password in the standard encoding.
    fn password(&self, form: Form) -> &[u8] {
        self.password.of(form).next().unwrap_or_default()
    }
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Result<Vec<u8>, Error> {
    let mac = <SimpleHmac<Sha256> as KeyInit>::new_from_slice(key).map_err(failed)?;
    Ok(mac.chain_update(data).finalize().into_bytes().to_vec())
}

fn hmac_sha1(key: &[u8], data: &[u8]) -> Result<Vec<u8>, Error> {
    let mac = <SimpleHmac<Sha1> as KeyInit>::new_from_slice(key).map_err(failed)?;
    Ok(mac.chain_update(data).finalize().into_bytes().to_vec())
}

/// An INTEGER, with a leading zero where it would otherwise be negative.
fn integer(value: u32) -> Bytes {
    let octets = value.to_be_bytes();
    let skip = octets.iter().take_while(|octet| **octet == 0).count().min(3);
    let significant = octets.get(skip..).unwrap_or_default();
    let sign: &[u8] = if significant.first().is_some_and(|octet| octet & 0x80 != 0) { &[0] } else { &[] };
    encode(ber::INTEGER, &[sign, significant].concat())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Writing { detail: format!("no randomness: {error}") })?;
    Ok(bytes)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Writing { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::file::contents::Contents;
    use crate::file::limits::{Budget, Limits};

    fn open(file: &[u8], password: &str) -> Result<Contents, Error> {
        read(file, &mut Candidates::new(password), &mut Budget::new(&Limits::default()))
    }

    /// PrivateKeyInfo of version 2, with a public key; its contents do not matter here.
    const KEY: &[u8] = &[0x30, 0x12, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 2, 7, 7, 0x81, 2, 0, 9];

    #[test]
    fn a_written_file_can_be_read() {
        let (leaf, above): (&[u8], &[u8]) = (&[0x30, 1, 0], &[0x30, 1, 1]);
        for protection in [Protection::Aes256, Protection::Legacy] {
            for (name, password) in [("name", "secret"), ("имя 😀", "пароль 😀"), ("", "")] {
                let entry = Entry { pkcs8: KEY, certificate: leaf, friendly_name: name };
                let file = write(&[entry], &[above], password, protection).unwrap();
                let contents = open(&file, password).unwrap();
                let [key] = contents.keys.as_slice() else { panic!("{contents:?}") };
                assert_eq!(**key.pkcs8, [0x30, 0x0e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 2, 7, 7]);
                assert_eq!(key.friendly_name.as_deref().unwrap_or_default(), name);
                let [first, second] = contents.certificates.as_slice() else { panic!("{contents:?}") };
                assert_eq!((first.der.as_slice(), second.der.as_slice()), (leaf, above));
                assert_eq!((&first.friendly_name, &first.local_key_id), (&key.friendly_name, &key.local_key_id));
                assert_eq!((&second.friendly_name, &second.local_key_id), (&None, &None));
                assert!(open(&file, "another").is_err());
            }
        }
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        assert_eq!(**integer(0), [2, 1, 0]);
        assert_eq!(**integer(128), [2, 2, 0, 128]);
        assert_eq!(**integer(150_000), [2, 3, 2, 0x49, 0xf0]);
        assert_eq!(**integer(u32::MAX), [2, 5, 0, 255, 255, 255, 255]);
    }
}
