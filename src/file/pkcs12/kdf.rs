//! From a password to a key: RFC 7292 appendix B, and PBKDF1, PBKDF2 (RFC 8018), scrypt (RFC 7914).

use der::asn1::OctetStringRef;
use der::{Decode, Sequence};
use digest::Digest;
use digest::block_api::BlockSizeUser;
use hmac::{Hmac, KeyInit, Mac, SimpleHmac};
use pkcs8::AlgorithmIdentifierRef;
use zeroize::{Zeroize, Zeroizing};

use super::hash::{Hash, with_hash};
use super::names;
use crate::error::file::{Error, damaged};
use crate::file::limits::Limits;

const PBKDF2: &str = "1.2.840.113549.1.5.12";
const SCRYPT: &str = "1.3.6.1.4.1.11591.4.11";

/// No cipher and no MAC takes a longer key. In bytes.
const MAX_KEY: u16 = 1024;

/// A derived key or initialisation vector.
pub(in crate::file) type Key = Zeroizing<Vec<u8>>;

/// What the bytes of RFC 7292 appendix B are for (appendix B.3).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// The derivation of RFC 7292 appendix B.2; `size` in bytes.
pub(super) fn pkcs12(hash: Hash, password: &[u8], salt: &[u8], purpose: Purpose, iterations: u64, size: usize) -> Key {
    with_hash!(hash, D => pkcs12_with::<D>(password, salt, purpose, iterations, size))
}

/// How many rounds [`pkcs12`] does for `size` bytes.
pub(super) fn pkcs12_rounds(hash: Hash, iterations: u64, size: usize) -> u64 {
    iterations.saturating_mul(size.div_ceil(hash.size()) as u64)
}

fn pkcs12_with<D: Digest + BlockSizeUser>(
    password: &[u8],
    salt: &[u8],
    purpose: Purpose,
    iterations: u64,
    size: usize,
) -> Key {
    let block = D::block_size();
    let mut input = repeated(salt, password, block);
    let mut key = Zeroizing::new(Vec::with_capacity(size + <D as Digest>::output_size()));
    loop {
        let mut hash = D::new_with_prefix(vec![purpose as u8; block]);
        hash.update(&*input);
        let mut digest = hash.finalize();
        for _ in 1..iterations {
            digest = D::digest(digest);
        }
        key.extend_from_slice(&digest);
        if key.len() >= size {
            digest.as_mut_slice().zeroize();
            key.truncate(size);
            return key;
        }
        for chunk in input.chunks_exact_mut(block) {
            add_with_one(chunk, &digest);
        }
        digest.as_mut_slice().zeroize();
    }
}

/// Salt, then password, each repeated up to whole blocks (steps 2 to 4).
fn repeated(salt: &[u8], password: &[u8], block: usize) -> Zeroizing<Vec<u8>> {
    let size = |part: &[u8]| part.len().next_multiple_of(block);
    let mut input = Zeroizing::new(Vec::with_capacity(size(salt) + size(password)));
    input.extend(salt.iter().cycle().take(size(salt)));
    input.extend(password.iter().cycle().take(size(password)));
    input
}

/// `number = number + repeated digest + 1`, big-endian, the carry dropped (step 6 C).
fn add_with_one(number: &mut [u8], digest: &[u8]) {
    let mut sum = 1_u16;
    let addend = digest.iter().cycle().take(number.len()).copied();
    // cycle() has no back end: collect the addend before walking from the last byte
    let addend = Zeroizing::new(addend.collect::<Vec<u8>>());
    for (byte, add) in number.iter_mut().zip(addend.iter()).rev() {
        sum += u16::from(*byte) + u16::from(*add);
        *byte = sum.to_le_bytes()[0];
        sum >>= 8;
    }
}

/// PBKDF1 (RFC 8018 section 5.1): the whole last digest.
pub(super) fn pbkdf1(hash: Hash, password: &[u8], salt: &[u8], iterations: u64) -> Key {
    with_hash!(hash, D => {
        let mut digest = D::new().chain_update(password).chain_update(salt).finalize();
        for _ in 1..iterations {
            digest = D::digest(digest);
        }
        Zeroizing::new(digest.to_vec())
    })
}

/// HMAC of `data`, compared in constant time.
pub(super) fn hmac_fits(hash: Hash, key: &[u8], data: &[u8], expected: &[u8]) -> bool {
    with_hash!(hash, D => {
        <SimpleHmac<D> as KeyInit>::new_from_slice(key)
            .is_ok_and(|mac| mac.chain_update(data).verify_slice(expected).is_ok())
    })
}

/// HMAC of `data`, for tests that make files.
#[cfg(test)]
pub(super) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    use digest::FixedOutput;
    with_hash!(hash, D => {
        <SimpleHmac<D> as KeyInit>::new_from_slice(key)
            .map(|mac| mac.chain_update(data).finalize_fixed().to_vec())
            .unwrap_or_default()
    })
}

/// The key derivation of PBES2 and PBMAC1, its parameters read and within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::file) enum Derivation {
    Pbkdf2 { salt: Vec<u8>, iterations: u32, key_length: Option<u16>, prf: Hash },
    Scrypt { salt: Vec<u8>, cost: u64, block_size: u32, parallelization: u32, key_length: Option<u16> },
}

/// RFC 8018 appendix A.2; a salt of the other kind ("otherSource") does not exist.
#[derive(Sequence)]
struct Pbkdf2Params<'a> {
    salt: &'a OctetStringRef,
    iterations: u64,
    key_length: Option<u16>,
    prf: Option<AlgorithmIdentifierRef<'a>>,
}

/// RFC 7914 section 7.1.
#[derive(Sequence)]
struct ScryptParams<'a> {
    salt: &'a OctetStringRef,
    cost: u64,
    block_size: u32,
    parallelization: u32,
    key_length: Option<u16>,
}

impl Derivation {
    /// Reads the parameters and checks their cost.
    pub(in crate::file) fn read(algorithm: AlgorithmIdentifierRef<'_>, limits: &Limits) -> Result<Self, Error> {
        let oid = algorithm.oid.to_string();
        let derivation = match oid.as_str() {
            PBKDF2 => Self::read_pbkdf2(&parameters(algorithm)?, limits)?,
            SCRYPT => Self::read_scrypt(&parameters(algorithm)?, limits)?,
            _ => return Err(names::unsupported("key derivation", oid)),
        };
        if derivation.key_length().is_some_and(|length| length == 0 || length > MAX_KEY) {
            return Err(damaged("a derived key of impossible length"));
        }
        Ok(derivation)
    }

    fn read_pbkdf2(der: &[u8], limits: &Limits) -> Result<Self, Error> {
        let params = Pbkdf2Params::from_der(der).map_err(|_| damaged("the parameters of PBKDF2"))?;
        limits.check_iterations(params.iterations)?;
        let prf = match params.prf {
            None => Hash::Sha1,
            Some(prf) => Hash::by_hmac_oid(&prf.oid).ok_or_else(|| names::unsupported("HMAC", prf.oid.to_string()))?,
        };
        // Limits may be raised beyond what the crates take
        let iterations = u32::try_from(params.iterations).map_err(|_| Error::TooCostly {
            what: "rounds of PBKDF2",
            value: params.iterations,
            limit: u32::MAX.into(),
        })?;
        Ok(Self::Pbkdf2 { salt: params.salt.as_bytes().to_vec(), iterations, key_length: params.key_length, prf })
    }

    fn read_scrypt(der: &[u8], limits: &Limits) -> Result<Self, Error> {
        let params = ScryptParams::from_der(der).map_err(|_| damaged("the parameters of scrypt"))?;
        let ScryptParams { cost, block_size, parallelization, .. } = params;
        if !cost.is_power_of_two() || cost < 2 || block_size == 0 || parallelization == 0 {
            return Err(damaged("impossible parameters of scrypt"));
        }
        // The big table, and the blocks that are mixed into it
        let memory = |count: u64| 128_u64.saturating_mul(block_size.into()).saturating_mul(count);
        limits.check_scrypt_memory(memory(cost))?;
        limits.check_scrypt_memory(memory(parallelization.into()))?;
        let salt = params.salt.as_bytes().to_vec();
        Ok(Self::Scrypt { salt, cost, block_size, parallelization, key_length: params.key_length })
    }

    /// The length of the key that the parameters demand, in bytes.
    pub(in crate::file) fn key_length(&self) -> Option<u16> {
        match self {
            Self::Pbkdf2 { key_length, .. } | Self::Scrypt { key_length, .. } => *key_length,
        }
    }

    /// The work for a key of `size` bytes, in rounds of a digest.
    pub(in crate::file) fn rounds(&self, size: usize) -> u64 {
        match self {
            Self::Pbkdf2 { iterations, prf, .. } => {
                u64::from(*iterations).saturating_mul(size.div_ceil(prf.size()) as u64)
            }
            // One mixing of 128 bytes takes about as long as two rounds of SHA-256
            Self::Scrypt { cost, block_size, parallelization, .. } => {
                cost.saturating_mul((*block_size).into()).saturating_mul((*parallelization).into()).saturating_mul(2)
            }
        }
    }

    /// Derives a key of `size` bytes.
    pub(in crate::file) fn derive(&self, password: &[u8], size: usize) -> Result<Key, Error> {
        let mut key = Zeroizing::new(vec![0; size]);
        match self {
            Self::Pbkdf2 { salt, iterations, prf, .. } => pbkdf2(*prf, password, salt, *iterations, &mut key)?,
            Self::Scrypt { salt, cost, block_size, parallelization, .. } => {
                let log_cost = cost.trailing_zeros() as u8;
                scrypt::Params::new(log_cost, *block_size, *parallelization)
                    .ok()
                    .and_then(|params| scrypt::scrypt(password, salt, &params, &mut key).ok())
                    .ok_or_else(|| damaged("impossible parameters of scrypt"))?;
            }
        }
        Ok(key)
    }
}

fn parameters(algorithm: AlgorithmIdentifierRef<'_>) -> Result<Vec<u8>, Error> {
    let parameters = algorithm.parameters.ok_or_else(|| damaged("a key derivation without parameters"))?;
    der::Encode::to_der(&parameters).map_err(|_| damaged("the parameters of a key derivation"))
}

fn pbkdf2(prf: Hash, password: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) -> Result<(), Error> {
    macro_rules! by_prf {
        ($($name:ident $prf:ty),*) => {
            match prf {
                $(Hash::$name => pbkdf2::pbkdf2::<$prf>(password, salt, iterations, key),)*
                // Hash::by_hmac_oid() returns no other
                Hash::Md2 | Hash::Md4 | Hash::Ripemd160 | Hash::Whirlpool | Hash::Blake2b512 | Hash::Blake2s256 => {
                    return Err(damaged("a digest that is no part of PBKDF2"));
                }
            }
        };
    }
    // Hmac keeps the state after the key between rounds; sha3 only offers SimpleHmac, which does not
    by_prf!(
        Md5 Hmac<md5::Md5>, Sha1 Hmac<sha1::Sha1>, Sha224 Hmac<sha2::Sha224>, Sha256 Hmac<sha2::Sha256>,
        Sha384 Hmac<sha2::Sha384>, Sha512 Hmac<sha2::Sha512>, Sha512_224 Hmac<sha2::Sha512_224>,
        Sha512_256 Hmac<sha2::Sha512_256>, Sha3_224 SimpleHmac<sha3::Sha3_224>, Sha3_256 SimpleHmac<sha3::Sha3_256>,
        Sha3_384 SimpleHmac<sha3::Sha3_384>, Sha3_512 SimpleHmac<sha3::Sha3_512>, Sm3 Hmac<sm3::Sm3>
    )
    .map_err(|_| damaged("a password that HMAC does not take"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with OpenSSL; the p12 crate has the same in its own tests.
    #[test]
    fn the_pkcs12_derivation_gives_a_known_key() {
        let salt = [0x9a, 0xf4, 0x70, 0x29, 0x58, 0xa8, 0xe9, 0x5c];
        let key = pkcs12(Hash::Sha1, &[0, 0], &salt, Purpose::Key, 2048, 24);
        let expected = [
            0xc2, 0x29, 0x4a, 0xa6, 0xd0, 0x29, 0x30, 0xeb, 0x5c, 0xe9, 0xc3, 0x29, 0xec, 0xcb, 0x9a, 0xee, 0x1c, 0xb1,
            0x36, 0xba, 0xea, 0x74, 0x65, 0x57,
        ];
        assert_eq!(*key, expected);
    }

    /// RFC 6070.
    #[test]
    fn pbkdf2_gives_a_known_key() {
        let derivation =
            Derivation::Pbkdf2 { salt: b"salt".to_vec(), iterations: 2, key_length: None, prf: Hash::Sha1 };
        let expected = [
            0xea, 0x6c, 0x01, 0x4d, 0xc7, 0x2d, 0x6f, 0x8c, 0xcd, 0x1e, 0xd9, 0x2a, 0xce, 0x1d, 0x41, 0xf0, 0xd8, 0xde,
            0x89, 0x57,
        ];
        assert_eq!(derivation.derive(b"password", 20).map(|key| key.to_vec()), Ok(expected.to_vec()));
    }

    #[test]
    fn work_is_counted_by_output_blocks() {
        assert_eq!(pkcs12_rounds(Hash::Sha1, 1000, 24), 2000);
        let derivation = Derivation::Pbkdf2 { salt: Vec::new(), iterations: 1000, key_length: None, prf: Hash::Sha1 };
        assert_eq!(derivation.rounds(32), 2000);
        let derivation = Derivation::Scrypt {
            salt: Vec::new(),
            cost: 1 << 40,
            block_size: 1 << 31,
            parallelization: 1,
            key_length: None,
        };
        assert_eq!(derivation.rounds(32), u64::MAX);
    }
}
