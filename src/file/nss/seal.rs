//! What the password of an NSS database seals, and the authentication codes beside it.

use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, Sequence};
use hmac::{Hmac, KeyInit, Mac};
use pkcs8::AlgorithmIdentifierRef;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::error::file::{Error, damaged};
use crate::file::limits::Limits;
use crate::file::pkcs12::{Derivation, PbeParams, Pbes2Params, Pbmac1, Plaintext, cbc};

const PBES2: &str = "1.2.840.113549.1.5.13";
const PBMAC1: &str = "1.2.840.113549.1.5.14";
/// pbeWithSha1AndTripleDES-CBC as NSS has it, which is not that of PKCS#12.
const SHA1_TRIPLE_DES: &str = "1.2.840.113549.1.12.5.1.3";

/// AES-CBC by its object identifier, with the size of its key in bytes.
const AES: [(&str, usize); 3] =
    [("2.16.840.1.101.3.4.1.2", 16), ("2.16.840.1.101.3.4.1.22", 24), ("2.16.840.1.101.3.4.1.42", 32)];

/// What is sealed to check a password.
const PASSWORD_CHECK: &[u8] = b"password-check";

/// What every key in the database is derived from: a digest of the password and the salt of the database.
pub(super) struct Passkey(Zeroizing<Vec<u8>>);

impl Passkey {
    /// The digest is as long as the salt: SHA-1 until NSS 3.117, SHA-384 since.
    pub(super) fn new(salt: &[u8], password: &str) -> Self {
        fn digest<D: Digest>(salt: &[u8], password: &str) -> Passkey {
            Passkey(Zeroizing::new(D::new().chain_update(salt).chain_update(password).finalize().to_vec()))
        }
        match salt.len() {
            32 => digest::<Sha256>(salt, password),
            48 => digest::<Sha384>(salt, password),
            64 => digest::<Sha512>(salt, password),
            _ => digest::<Sha1>(salt, password),
        }
    }

    /// Whether it opens what is sealed to check a password.
    pub(super) fn opens(&self, check: &Sealed) -> Result<bool, Error> {
        Ok(check.open(self)?.is_some_and(|plaintext| *plaintext == PASSWORD_CHECK))
    }
}

/// A sealed value, its parameters read and within the limits.
pub(super) struct Sealed {
    scheme: Scheme,
    ciphertext: Vec<u8>,
}

enum Scheme {
    /// PBES2 with AES (RFC 8018 section 6.2), since NSS 3.49.
    Pbes2 { derivation: Derivation, key_size: usize, iv: Vec<u8> },
    /// Before, and in databases that were converted from the old form.
    Sha1TripleDes { salt: Vec<u8>, rounds: u64 },
}

/// EncryptedData, and likewise a code.
#[derive(Sequence)]
struct Value<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    value: &'a OctetStringRef,
}

impl Sealed {
    /// Reads the parameters and checks their cost.
    pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let Value { algorithm, value } = Value::from_der(bytes).map_err(|_| damaged("a sealed value"))?;
        let parameters = parameters(algorithm)?;
        let scheme = match algorithm.oid.to_string().as_str() {
            PBES2 => Scheme::read_pbes2(&parameters, limits)?,
            SHA1_TRIPLE_DES => Scheme::read_sha1_triple_des(&parameters, limits)?,
            other => return Err(unsupported("cipher", other.to_owned())),
        };
        Ok(Self { scheme, ciphertext: value.as_bytes().to_vec() })
    }

    /// Whether NSS demands an authentication code for it.
    pub(super) fn needs_code(&self) -> bool {
        matches!(self.scheme, Scheme::Pbes2 { .. })
    }

    /// The work to open it, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        match &self.scheme {
            Scheme::Pbes2 { derivation, key_size, .. } => derivation.rounds(*key_size),
            Scheme::Sha1TripleDes { rounds, .. } => *rounds,
        }
    }

    /// Opens it; `None` when the padding is wrong, and so the password.
    pub(super) fn open(&self, passkey: &Passkey) -> Result<Option<Plaintext>, Error> {
        match &self.scheme {
            Scheme::Pbes2 { derivation, key_size, iv } => {
                let key = derivation.derive(&passkey.0, *key_size)?;
                match key_size {
                    16 => cbc::<aes::Aes128>(&key, iv, &self.ciphertext),
                    24 => cbc::<aes::Aes192>(&key, iv, &self.ciphertext),
                    _ => cbc::<aes::Aes256>(&key, iv, &self.ciphertext),
                }
            }
            Scheme::Sha1TripleDes { salt, rounds } => {
                let derived = sha1_triple_des(&passkey.0, salt, *rounds)?;
                let (key, rest) = derived.split_at_checked(24).ok_or_else(|| damaged("a derived key"))?;
                let iv = rest.last_chunk::<8>().ok_or_else(|| damaged("a derived key"))?;
                cbc::<des::TdesEde3>(key, iv, &self.ciphertext)
            }
        }
    }
}

impl Scheme {
    fn read_pbes2(der: &[u8], limits: &Limits) -> Result<Self, Error> {
        let params = Pbes2Params::from_der(der).map_err(|_| damaged("the parameters of PBES2"))?;
        let derivation = Derivation::read(params.derivation, limits).map_err(of_database)?;
        let oid = params.encryption.oid.to_string();
        let Some((_, key_size)) = AES.into_iter().find(|(aes, _)| *aes == oid) else {
            return Err(unsupported("cipher", oid));
        };
        if derivation.key_length().is_some_and(|length| usize::from(length) != key_size) {
            return Err(damaged("a key length that its cipher does not have"));
        }
        // NSS takes the whole element for the initialisation vector: a tag, a length, and 14 bytes
        let iv = parameters(params.encryption)?;
        if iv.len() != 16 {
            return Err(damaged("an initialisation vector that NSS does not write"));
        }
        Ok(Self::Pbes2 { derivation, key_size, iv })
    }

    fn read_sha1_triple_des(der: &[u8], limits: &Limits) -> Result<Self, Error> {
        let params = PbeParams::from_der(der).map_err(|_| damaged("the parameters of SHA-1 and 3DES"))?;
        limits.check_iterations(params.iterations)?;
        Ok(Self::Sha1TripleDes { salt: params.salt.as_bytes().to_vec(), rounds: params.iterations })
    }
}

/// The derivation that was drafted for PKCS#12 once: PBKDF1, then 40 bytes from it by HMAC.
fn sha1_triple_des(passkey: &[u8], salt: &[u8], rounds: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut digest = Sha1::new().chain_update(passkey).chain_update(salt).finalize();
    for _ in 1..rounds {
        digest = Sha1::digest(digest);
    }
    let mac = |parts: [&[u8]; 2]| -> Result<Zeroizing<Vec<u8>>, Error> {
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&digest).map_err(|_| damaged("a derived key"))?;
        let mac = parts.into_iter().fold(mac, |mac, part| mac.chain_update(part));
        Ok(Zeroizing::new(mac.finalize().into_bytes().to_vec()))
    };
    let mut padded = salt.to_vec();
    padded.resize(padded.len().max(20), 0);
    let first = mac([&padded, salt])?;
    let second = mac([&mac([&padded, &[]])?, salt])?;
    Ok(Zeroizing::new([first.as_slice(), &second].concat()))
}

/// The authentication code of an attribute, its parameters read and within the limits.
pub(super) struct Code {
    method: Pbmac1,
    expected: Vec<u8>,
}

impl Code {
    /// Reads the parameters and checks their cost.
    pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let Value { algorithm, value } = Value::from_der(bytes).map_err(|_| damaged("an authentication code"))?;
        if algorithm.oid.to_string() != PBMAC1 {
            return Err(unsupported("authentication code", algorithm.oid.to_string()));
        }
        let method = Pbmac1::read(&parameters(algorithm)?, limits).map_err(of_database)?;
        Ok(Self { method, expected: value.as_bytes().to_vec() })
    }

    /// The work to check it, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        self.method.rounds()
    }

    /// Whether it is that of an attribute of the object `handle`, which is 0 for attributes of private keys.
    pub(super) fn fits(&self, passkey: &Passkey, handle: u32, attribute: u32, plaintext: &[u8]) -> Result<bool, Error> {
        let content = Zeroizing::new([handle.to_be_bytes().as_slice(), &attribute.to_be_bytes(), plaintext].concat());
        self.method.fits(&content, &passkey.0, &self.expected)
    }
}

/// The DER of the parameters.
fn parameters(algorithm: AlgorithmIdentifierRef<'_>) -> Result<Vec<u8>, Error> {
    let parameters: AnyRef<'_> = algorithm.parameters.ok_or_else(|| damaged("an algorithm without parameters"))?;
    parameters.to_der().map_err(|_| damaged("the parameters of an algorithm"))
}

fn unsupported(what: &'static str, name: String) -> Error {
    let advice = "export the identity from the program as a .p12 file, and import that";
    Error::Unsupported { what, name, advice }
}

/// The advice for a database instead of that for a file.
fn of_database(error: Error) -> Error {
    match error {
        Error::Unsupported { what, name, .. } => unsupported(what, name),
        other => other,
    }
}
