//! Decryption: the schemes of RFC 7292 appendix C, PBES1 and PBES2 (RFC 8018).
//!
//! `p12` decrypts RC2-40 and 3DES of PKCS#12, and `pkcs5` the usual PBES2. The other schemes are built here from the crates of
//! the single ciphers.

use aes_gcm::aead::Aead;
use aes_gcm::aead::consts::{U12, U13, U14, U15, U16};
use aes_gcm::{AesGcm, TagSize};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockSizeUser, InnerIvInit, KeyInit};
use der::asn1::OctetStringRef;
use der::{Decode, Sequence};
use pkcs8::AlgorithmIdentifierRef;
use pkcs8::pkcs5::pbes2;
use rc4::StreamCipher;
use zeroize::Zeroizing;

use super::hash::Hash;
use super::kdf::{self, Derivation, Key, Purpose};
use super::names;
use super::password::Form;
use super::structure::{Algorithm, OldPbe};
use crate::error::file::{Error, damaged};
use crate::file::limits::Limits;

const PBES2: &str = "1.2.840.113549.1.5.13";

/// Length of an initialisation vector in the schemes of PKCS#12 and PBES1, in bytes: all their ciphers have blocks of 64
/// bits.
const OLD_BLOCK: usize = 8;

/// Length of the blocks and of the keys of SEED, in bytes.
const SEED_BLOCK: usize = 16;

/// Decrypted bytes.
pub(in crate::file) type Plaintext = Zeroizing<Vec<u8>>;

/// An encryption scheme, its parameters read and within the limits.
pub(super) enum Scheme {
    /// Decrypted by `p12`.
    Old(OldPbe),
    /// RFC 7292 appendix C, always with SHA-1.
    Pkcs12 { cipher: OldCipher, salt: Vec<u8>, iterations: u64 },
    /// RFC 8018 section 6.1.
    Pbes1 { hash: Hash, cipher: OldCipher, salt: Vec<u8>, iterations: u64 },
    /// The schemes of the Korean PKI (NPKI) from before PBES2: SEED-CBC, with a key from PBKDF1 with SHA-1.
    Seed { iv: SeedIv, salt: Vec<u8>, iterations: u64 },
    /// RFC 8018 section 6.2.
    Pbes2(Pbes2),
}

/// Where the initialisation vector of [`Scheme::Seed`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeedIv {
    /// It is always the same.
    Fixed,
    /// SHA-1 of what PBKDF1 returns beyond the key.
    Derived,
}

/// The ciphers of the schemes that allow only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldCipher {
    Rc4 { key: usize },
    Rc2 { key: usize },
    Des,
    TwoKeyTripleDes,
}

/// The parameters of PBES2.
pub(super) struct Pbes2 {
    derivation: Derivation,
    cipher: ContentCipher,
    /// Size of the key, in bytes.
    key_size: usize,
    /// The same parameters as parsed by `pkcs5`, if it supports them.
    standard: Option<pbes2::Parameters>,
}

/// The cipher of PBES2 with its initialisation vector.
struct ContentCipher {
    kind: Kind,
    iv: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aes128,
    Aes192,
    Aes256,
    Aes128Gcm { tag: u8 },
    Aes192Gcm { tag: u8 },
    Aes256Gcm { tag: u8 },
    Des,
    TripleDes,
    Rc2 { effective_bits: usize },
    Aria128,
    Aria192,
    Aria256,
    Camellia128,
    Camellia192,
    Camellia256,
    Seed,
    Sm4,
    Cast5,
    Blowfish,
    Idea,
}

/// PBEParameter and pkcs-12PbeParams are the same (RFC 8018 appendix A.3, RFC 7292 appendix C).
#[derive(Sequence)]
pub(in crate::file) struct PbeParams<'a> {
    pub(in crate::file) salt: &'a OctetStringRef,
    pub(in crate::file) iterations: u64,
}

/// RFC 8018 appendix A.4.
#[derive(Sequence)]
pub(in crate::file) struct Pbes2Params<'a> {
    pub(in crate::file) derivation: AlgorithmIdentifierRef<'a>,
    pub(in crate::file) encryption: AlgorithmIdentifierRef<'a>,
}

/// RC2-CBC-Parameter (RFC 8018 appendix B.2.3).
#[derive(Sequence)]
struct Rc2Params<'a> {
    version: Option<u32>,
    iv: &'a OctetStringRef,
}

/// GCMParameters (RFC 5084 section 3.2).
#[derive(Sequence)]
struct GcmParams<'a> {
    nonce: &'a OctetStringRef,
    tag_length: Option<u8>,
}

/// What CAST5 (RFC 2984) and IDEA (RFC 3058) have around their IV; the length is in bits.
#[derive(Sequence)]
struct IvInSequence<'a> {
    iv: &'a OctetStringRef,
    key_length: Option<u16>,
}

impl Scheme {
    /// Reads the parameters and checks their cost.
    pub(super) fn read(algorithm: Algorithm, limits: &Limits) -> Result<Self, Error> {
        match algorithm {
            Algorithm::Old(old) => {
                limits.check_iterations(old.iterations())?;
                Ok(Self::Old(old))
            }
            Algorithm::Other { oid, parameters } if oid == PBES2 => Pbes2::read(&parameters, limits).map(Self::Pbes2),
            Algorithm::Other { oid, parameters } => Self::read_with_fixed_cipher(oid, &parameters, limits),
        }
    }

    fn read_with_fixed_cipher(oid: String, parameters: &[u8], limits: &Limits) -> Result<Self, Error> {
        enum Family {
            Pkcs12(OldCipher),
            Pbes1(Hash, OldCipher),
            Seed(SeedIv),
        }
        let family = match oid.as_str() {
            "1.2.840.113549.1.12.1.1" => Family::Pkcs12(OldCipher::Rc4 { key: 16 }),
            "1.2.840.113549.1.12.1.2" => Family::Pkcs12(OldCipher::Rc4 { key: 5 }),
            "1.2.840.113549.1.12.1.4" => Family::Pkcs12(OldCipher::TwoKeyTripleDes),
            "1.2.840.113549.1.12.1.5" => Family::Pkcs12(OldCipher::Rc2 { key: 16 }),
            "1.2.840.113549.1.5.1" => Family::Pbes1(Hash::Md2, OldCipher::Des),
            "1.2.840.113549.1.5.3" => Family::Pbes1(Hash::Md5, OldCipher::Des),
            "1.2.840.113549.1.5.4" => Family::Pbes1(Hash::Md2, OldCipher::Rc2 { key: 8 }),
            "1.2.840.113549.1.5.6" => Family::Pbes1(Hash::Md5, OldCipher::Rc2 { key: 8 }),
            "1.2.840.113549.1.5.10" => Family::Pbes1(Hash::Sha1, OldCipher::Des),
            "1.2.840.113549.1.5.11" => Family::Pbes1(Hash::Sha1, OldCipher::Rc2 { key: 8 }),
            "1.2.410.200004.1.4" => Family::Seed(SeedIv::Fixed),
            "1.2.410.200004.1.15" => Family::Seed(SeedIv::Derived),
            _ => return Err(names::unsupported("cipher", oid)),
        };
        let params = PbeParams::from_der(parameters).map_err(|_| damaged("the parameters of a cipher"))?;
        let iterations = params.iterations;
        limits.check_iterations(iterations)?;
        let salt = params.salt.as_bytes().to_vec();
        Ok(match family {
            Family::Pkcs12(cipher) => Self::Pkcs12 { cipher, salt, iterations },
            Family::Pbes1(hash, cipher) => Self::Pbes1 { hash, cipher, salt, iterations },
            Family::Seed(iv) => Self::Seed { iv, salt, iterations },
        })
    }

    /// In which form this scheme takes the password.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Old(_) | Self::Pkcs12 { .. } => Form::Pkcs12,
            Self::Pbes1 { .. } | Self::Seed { .. } | Self::Pbes2(_) => Form::Pkcs5,
        }
    }

    /// The work to try one password, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        match self {
            Self::Old(old) => old.iterations().saturating_mul(old.derivations()),
            Self::Pkcs12 { cipher, iterations, .. } => {
                let key = kdf::pkcs12_rounds(Hash::Sha1, *iterations, cipher.key_size());
                key.saturating_add(kdf::pkcs12_rounds(Hash::Sha1, *iterations, cipher.iv_size()))
            }
            Self::Pbes1 { iterations, .. } | Self::Seed { iterations, .. } => *iterations,
            Self::Pbes2(pbes2) => pbes2.derivation.rounds(pbes2.key_size),
        }
    }

    /// Decrypts. Returns every plaintext that the padding allows: none when the password is
    /// another, more than one where writers differ in what the scheme means.
    pub(super) fn decrypt(&self, ciphertext: &[u8], password: &[u8]) -> Result<Vec<Plaintext>, Error> {
        let plaintext = match self {
            Self::Old(old) => {
                whole_blocks(ciphertext, OLD_BLOCK)?;
                old.decrypt(ciphertext, password)?
            }
            Self::Pkcs12 { cipher, salt, iterations } => {
                let derive = |purpose, size| kdf::pkcs12(Hash::Sha1, password, salt, purpose, *iterations, size);
                let key = derive(Purpose::Key, cipher.key_size());
                cipher.decrypt(&key, &derive_iv(*cipher, derive), ciphertext)?
            }
            Self::Pbes1 { hash, cipher, salt, iterations } => {
                let derived = kdf::pbkdf1(*hash, password, salt, *iterations);
                return decrypt_pbes1(*cipher, &derived, ciphertext);
            }
            Self::Seed { iv, salt, iterations } => {
                decrypt_seed(*iv, &kdf::pbkdf1(Hash::Sha1, password, salt, *iterations), ciphertext)?
            }
            Self::Pbes2(pbes2) => pbes2.decrypt(ciphertext, password)?,
        };
        Ok(plaintext.into_iter().collect())
    }
}

fn derive_iv(cipher: OldCipher, derive: impl Fn(Purpose, usize) -> Key) -> Key {
    match cipher.iv_size() {
        0 => Key::default(),
        size => derive(Purpose::Iv, size),
    }
}

/// Key and IV are the first sixteen bytes of the digest. NSS takes the last eight for the IV, which
/// is something else with SHA-1's twenty.
fn decrypt_pbes1(cipher: OldCipher, derived: &[u8], ciphertext: &[u8]) -> Result<Vec<Plaintext>, Error> {
    let too_short = || damaged("a digest too short for PBES1");
    let (key, rest) = derived.split_at_checked(OLD_BLOCK).ok_or_else(too_short)?;
    let standard = rest.first_chunk::<OLD_BLOCK>().ok_or_else(too_short)?;
    let of_nss = rest.last_chunk::<OLD_BLOCK>().ok_or_else(too_short)?;
    let mut plaintexts: Vec<Plaintext> = cipher.decrypt(key, standard, ciphertext)?.into_iter().collect();
    if of_nss != standard {
        plaintexts.extend(cipher.decrypt(key, of_nss, ciphertext)?);
    }
    Ok(plaintexts)
}

/// The key is the first sixteen bytes of the digest.
fn decrypt_seed(iv: SeedIv, derived: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error> {
    whole_blocks(ciphertext, SEED_BLOCK)?;
    let (key, rest) = derived.split_at_checked(SEED_BLOCK).ok_or_else(|| damaged("a digest too short for SEED"))?;
    match iv {
        SeedIv::Fixed => seed_cbc(key, b"0123456789012345", ciphertext),
        SeedIv::Derived => {
            let digest = kdf::pbkdf1(Hash::Sha1, rest, &[], 1);
            seed_cbc(key, digest.get(..SEED_BLOCK).unwrap_or_default(), ciphertext)
        }
    }
}

impl OldCipher {
    /// In bytes.
    fn key_size(self) -> usize {
        match self {
            Self::Rc4 { key } | Self::Rc2 { key } => key,
            Self::Des => 8,
            Self::TwoKeyTripleDes => 16,
        }
    }

    /// In bytes.
    fn iv_size(self) -> usize {
        match self {
            Self::Rc4 { .. } => 0,
            _ => OLD_BLOCK,
        }
    }

    fn decrypt(self, key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error> {
        match self {
            Self::Rc4 { .. } => rc4(key, ciphertext).map(Some),
            Self::Rc2 { key: size } => rc2_cbc(key, size * 8, iv, ciphertext),
            Self::Des => cbc::<des::Des>(key, iv, ciphertext),
            Self::TwoKeyTripleDes => cbc::<des::TdesEde2>(key, iv, ciphertext),
        }
    }
}

impl Pbes2 {
    fn read(parameters: &[u8], limits: &Limits) -> Result<Self, Error> {
        let params = Pbes2Params::from_der(parameters).map_err(|_| damaged("the parameters of PBES2"))?;
        let derivation = Derivation::read(params.derivation, limits)?;
        let (cipher, in_cipher) = ContentCipher::read(params.encryption)?;
        let key_size = cipher.kind.key_size(derivation.key_length().or(in_cipher).map(usize::from))?;
        let standard = pbes2::Parameters::from_der(parameters).ok().filter(|standard| is_for_pkcs5(standard, key_size));
        Ok(Self { derivation, cipher, key_size, standard })
    }

    fn decrypt(&self, ciphertext: &[u8], password: &[u8]) -> Result<Option<Plaintext>, Error> {
        self.cipher.check_size(ciphertext)?;
        if let Some(standard) = &self.standard {
            return match standard.decrypt(password, ciphertext) {
                Ok(plaintext) => Ok(Some(Zeroizing::new(plaintext))),
                Err(pkcs8::pkcs5::Error::DecryptFailed) => Ok(None),
                Err(_) => Err(damaged("the parameters of PBES2")),
            };
        }
        let key = self.derivation.derive(password, self.key_size)?;
        self.cipher.decrypt(&key, ciphertext)
    }
}

/// `pkcs5` has its own idea of the parameters of GCM, and of a key length that is no default.
fn is_for_pkcs5(standard: &pbes2::Parameters, key_size: usize) -> bool {
    use pbes2::EncryptionScheme as Scheme;
    let cipher = matches!(
        standard.encryption,
        Scheme::Aes128Cbc { .. }
            | Scheme::Aes192Cbc { .. }
            | Scheme::Aes256Cbc { .. }
            | Scheme::DesEde3Cbc { .. }
            | Scheme::DesCbc { .. }
    );
    cipher && standard.encryption.key_size() == key_size
}

impl ContentCipher {
    /// Also returns the length of the key, in bytes, where the cipher's parameters tell it.
    ///
    /// The length of the IV is checked here, before `pkcs5` 0.8 sees it: that slices without asking.
    fn read(algorithm: AlgorithmIdentifierRef<'_>) -> Result<(Self, Option<u16>), Error> {
        let oid = algorithm.oid.to_string();
        let parameters = algorithm.parameters.ok_or_else(|| damaged("a cipher without an initialisation vector"))?;
        let parameters = der::Encode::to_der(&parameters).map_err(|_| damaged("the parameters of a cipher"))?;
        let (kind, iv, key_length) = match oid.as_str() {
            "2.16.840.1.101.3.4.1.2" => with_iv(Kind::Aes128, &parameters)?,
            "2.16.840.1.101.3.4.1.22" => with_iv(Kind::Aes192, &parameters)?,
            "2.16.840.1.101.3.4.1.42" => with_iv(Kind::Aes256, &parameters)?,
            "2.16.840.1.101.3.4.1.6" => with_nonce(|tag| Kind::Aes128Gcm { tag }, &parameters)?,
            "2.16.840.1.101.3.4.1.26" => with_nonce(|tag| Kind::Aes192Gcm { tag }, &parameters)?,
            "2.16.840.1.101.3.4.1.46" => with_nonce(|tag| Kind::Aes256Gcm { tag }, &parameters)?,
            "1.3.14.3.2.7" => with_iv(Kind::Des, &parameters)?,
            "1.2.840.113549.3.7" => with_iv(Kind::TripleDes, &parameters)?,
            "1.2.840.113549.3.2" => rc2_with_iv(&parameters)?,
            "1.2.410.200046.1.1.2" => with_iv(Kind::Aria128, &parameters)?,
            "1.2.410.200046.1.1.7" => with_iv(Kind::Aria192, &parameters)?,
            "1.2.410.200046.1.1.12" => with_iv(Kind::Aria256, &parameters)?,
            "1.2.392.200011.61.1.1.1.2" => with_iv(Kind::Camellia128, &parameters)?,
            "1.2.392.200011.61.1.1.1.3" => with_iv(Kind::Camellia192, &parameters)?,
            "1.2.392.200011.61.1.1.1.4" => with_iv(Kind::Camellia256, &parameters)?,
            "1.2.410.200004.1.4" => with_iv(Kind::Seed, &parameters)?,
            "1.2.156.10197.1.104.2" => with_iv(Kind::Sm4, &parameters)?,
            "1.2.840.113533.7.66.10" => with_iv(Kind::Cast5, &parameters)?,
            "1.3.6.1.4.1.3029.1.2" => with_iv(Kind::Blowfish, &parameters)?,
            "1.3.6.1.4.1.188.7.1.1.2" => with_iv(Kind::Idea, &parameters)?,
            _ => return Err(names::unsupported("cipher", oid)),
        };
        if iv.len() != kind.iv_size() {
            return Err(damaged("an initialisation vector of the wrong length"));
        }
        Ok((Self { kind, iv }, key_length))
    }

    fn check_size(&self, ciphertext: &[u8]) -> Result<(), Error> {
        match self.kind {
            Kind::Aes128Gcm { tag } | Kind::Aes192Gcm { tag } | Kind::Aes256Gcm { tag } => {
                if ciphertext.len() < usize::from(tag) {
                    return Err(damaged("a ciphertext shorter than its tag"));
                }
                Ok(())
            }
            kind => whole_blocks(ciphertext, kind.iv_size()),
        }
    }

    fn decrypt(&self, key: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error> {
        let iv = &self.iv;
        match self.kind {
            Kind::Aes128 => cbc::<aes::Aes128>(key, iv, ciphertext),
            Kind::Aes192 => cbc::<aes::Aes192>(key, iv, ciphertext),
            Kind::Aes256 => cbc::<aes::Aes256>(key, iv, ciphertext),
            Kind::Aes128Gcm { tag } => gcm_with_tag::<aes::Aes128>(tag, key, iv, ciphertext),
            Kind::Aes192Gcm { tag } => gcm_with_tag::<aes::Aes192>(tag, key, iv, ciphertext),
            Kind::Aes256Gcm { tag } => gcm_with_tag::<aes::Aes256>(tag, key, iv, ciphertext),
            Kind::Des => cbc::<des::Des>(key, iv, ciphertext),
            Kind::TripleDes => cbc::<des::TdesEde3>(key, iv, ciphertext),
            Kind::Rc2 { effective_bits } => rc2_cbc(key, effective_bits, iv, ciphertext),
            Kind::Aria128 => cbc::<aria::Aria128>(key, iv, ciphertext),
            Kind::Aria192 => cbc::<aria::Aria192>(key, iv, ciphertext),
            Kind::Aria256 => cbc::<aria::Aria256>(key, iv, ciphertext),
            Kind::Camellia128 => cbc::<camellia::Camellia128>(key, iv, ciphertext),
            Kind::Camellia192 => cbc::<camellia::Camellia192>(key, iv, ciphertext),
            Kind::Camellia256 => cbc::<camellia::Camellia256>(key, iv, ciphertext),
            Kind::Seed => seed_cbc(key, iv, ciphertext),
            Kind::Sm4 => cbc::<sm4::Sm4>(key, iv, ciphertext),
            Kind::Cast5 => cbc::<cast5::Cast5>(key, iv, ciphertext),
            Kind::Blowfish => cbc::<blowfish::Blowfish>(key, iv, ciphertext),
            Kind::Idea => cbc::<idea::Idea>(key, iv, ciphertext),
        }
    }
}

impl Kind {
    /// Size of the initialisation vector, in bytes; with CBC that of a block too.
    fn iv_size(self) -> usize {
        match self {
            Self::Aes128Gcm { .. } | Self::Aes192Gcm { .. } | Self::Aes256Gcm { .. } => 12,
            Self::Des | Self::TripleDes | Self::Rc2 { .. } | Self::Cast5 | Self::Blowfish | Self::Idea => 8,
            _ => 16,
        }
    }

    /// Size of the key, in bytes: what was asked for where the cipher leaves a choice.
    fn key_size(self, asked: Option<usize>) -> Result<usize, Error> {
        let (default, possible) = match self {
            Self::Des => (8, 8..=8),
            Self::Aes192 | Self::Aes192Gcm { .. } | Self::Aria192 | Self::Camellia192 | Self::TripleDes => {
                (24, 24..=24)
            }
            Self::Aes256 | Self::Aes256Gcm { .. } | Self::Aria256 | Self::Camellia256 => (32, 32..=32),
            Self::Rc2 { .. } => (16, 1..=128),
            Self::Cast5 => (16, 5..=16),
            Self::Blowfish => (16, 4..=56),
            _ => (16, 16..=16),
        };
        let size = asked.unwrap_or(default);
        if possible.contains(&size) { Ok(size) } else { Err(damaged("a key length that its cipher does not have")) }
    }
}

type Parameters = (Kind, Vec<u8>, Option<u16>);

/// An IV as such, or in a sequence with the length of the key in bits.
fn with_iv(kind: Kind, parameters: &[u8]) -> Result<Parameters, Error> {
    if let Ok(iv) = <&OctetStringRef>::from_der(parameters) {
        return Ok((kind, iv.as_bytes().to_vec(), None));
    }
    let params = IvInSequence::from_der(parameters).map_err(|_| damaged("the parameters of a cipher"))?;
    Ok((kind, params.iv.as_bytes().to_vec(), params.key_length.map(|bits| bits.div_ceil(8))))
}

/// The nonce of GCM; a bare one, as `pkcs5` 0.8 writes it, goes with a whole tag.
fn with_nonce(kind: impl Fn(u8) -> Kind, parameters: &[u8]) -> Result<Parameters, Error> {
    if let Ok(nonce) = <&OctetStringRef>::from_der(parameters) {
        return Ok((kind(16), nonce.as_bytes().to_vec(), None));
    }
    let params = GcmParams::from_der(parameters).map_err(|_| damaged("the parameters of GCM"))?;
    let tag = params.tag_length.unwrap_or(12);
    if !(12..=16).contains(&tag) {
        return Err(damaged("a tag length that GCM does not have"));
    }
    Ok((kind(tag), params.nonce.as_bytes().to_vec(), None))
}

fn rc2_with_iv(parameters: &[u8]) -> Result<Parameters, Error> {
    let params = Rc2Params::from_der(parameters).map_err(|_| damaged("the parameters of RC2"))?;
    // Small versions are a code for the effective key bits, large ones are the bits themselves
    let effective_bits = match params.version {
        None => 32,
        Some(160) => 40,
        Some(120) => 64,
        Some(58) => 128,
        Some(bits @ 256..=1024) => bits as usize,
        Some(_) => return Err(damaged("an unknown version of RC2")),
    };
    Ok((Kind::Rc2 { effective_bits }, params.iv.as_bytes().to_vec(), None))
}

/// Ciphertext in part blocks was cut or changed; no password will open it.
fn whole_blocks(ciphertext: &[u8], block: usize) -> Result<(), Error> {
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(block) {
        return Err(damaged("a ciphertext that is not a number of whole blocks"));
    }
    Ok(())
}

fn bad_key<E>(_: E) -> Error {
    damaged("a key or an initialisation vector of the wrong length")
}

/// CBC with the padding of RFC 5652 section 6.3; `None` when the padding is wrong.
pub(in crate::file) fn cbc<C: KeyInit + BlockCipherDecrypt>(
    key: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> Result<Option<Plaintext>, Error> {
    let cipher = C::new_from_slice(key).map_err(bad_key)?;
    cbc_with(cipher, iv, ciphertext)
}

fn cbc_with<C: BlockCipherDecrypt>(cipher: C, iv: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error> {
    whole_blocks(ciphertext, C::block_size())?;
    let decryptor = cbc::Decryptor::<C>::inner_iv_slice_init(cipher, iv).map_err(bad_key)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let Ok(plaintext) = decryptor.decrypt_padded::<Pkcs7>(&mut buffer).map(<[u8]>::len) else {
        return Ok(None);
    };
    buffer.truncate(plaintext);
    Ok(Some(buffer))
}

fn rc2_cbc(key: &[u8], effective_bits: usize, iv: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error> {
    cbc_with(rc2::Rc2::new_with_eff_key_len(key, effective_bits), iv, ciphertext)
}

/// SEED is only there for the traits of the generation before.
fn seed_cbc(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error> {
    use cbc_0_1::cipher::block_padding::Pkcs7;
    use cbc_0_1::cipher::{BlockDecryptMut, KeyIvInit};
    let decryptor = cbc_0_1::Decryptor::<kisaseed::SEED>::new_from_slices(key, iv).map_err(bad_key)?;
    Ok(decryptor.decrypt_padded_vec_mut::<Pkcs7>(ciphertext).ok().map(Zeroizing::new))
}

fn rc4(key: &[u8], ciphertext: &[u8]) -> Result<Plaintext, Error> {
    let mut cipher = rc4::Rc4::new_from_slice(key).map_err(bad_key)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    cipher.try_apply_keystream(&mut buffer).map_err(bad_key)?;
    Ok(buffer)
}

/// GCM with a nonce of 96 bits and a tag of `tag` bytes.
fn gcm_with_tag<C>(tag: u8, key: &[u8], nonce: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error>
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    match tag {
        12 => gcm::<C, U12>(key, nonce, ciphertext),
        13 => gcm::<C, U13>(key, nonce, ciphertext),
        14 => gcm::<C, U14>(key, nonce, ciphertext),
        15 => gcm::<C, U15>(key, nonce, ciphertext),
        _ => gcm::<C, U16>(key, nonce, ciphertext),
    }
}

fn gcm<C, T>(key: &[u8], nonce: &[u8], ciphertext: &[u8]) -> Result<Option<Plaintext>, Error>
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
    T: TagSize,
{
    let cipher = AesGcm::<C, U12, T>::new_from_slice(key).map_err(bad_key)?;
    let nonce = nonce.try_into().map_err(bad_key)?;
    Ok(cipher.decrypt(nonce, ciphertext).ok().map(Zeroizing::new))
}
