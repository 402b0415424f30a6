//! Mechanisms: how a program asks for a signature, and what that is in TLS.

use std::borrow::Cow;

use cardcase::manage::KeyKind;
use cardcase::rustls::SignatureScheme;
use cryptoki_sys::*;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512};

use super::code::Result;
use super::slot::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A digest that is being made.
pub(crate) type Digest = Box<dyn DynDigest + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
    /// RSASSA-PSS.
    Pss,
    Ecdsa,
    Ed25519,
}

/// How something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mechanism {
    family: Family,
    /// Whether the program gives a digest, and not the whole message.
    is_digested: bool,
    /// `None` where the digest tells which (PKCS #1), where any will do (ECDSA), and for Ed25519.
    hash: Option<Hash>,
}

/// The parameters of a mechanism, as far as one has any.
#[derive(Clone, Copy)]
pub(crate) enum Parameters {
    None,
    Pss(CK_RSA_PKCS_PSS_PARAMS),
    Eddsa(CK_EDDSA_PARAMS),
    /// Of a length that the mechanism does not have.
    Other,
}

/// What is to be signed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) scheme: SignatureScheme,
    pub(crate) is_digest: bool,
    pub(crate) data: Cow<'a, [u8]>,
}

/// Every mechanism that signs: its family, and the hash if the program gives the whole message.
const SIGNING: [(CK_MECHANISM_TYPE, Family, Option<Hash>); 13] = [
    (CKM_RSA_PKCS, Family::Pkcs1, None),
    (CKM_SHA256_RSA_PKCS, Family::Pkcs1, Some(Hash::Sha256)),
    (CKM_SHA384_RSA_PKCS, Family::Pkcs1, Some(Hash::Sha384)),
    (CKM_SHA512_RSA_PKCS, Family::Pkcs1, Some(Hash::Sha512)),
    (CKM_RSA_PKCS_PSS, Family::Pss, None),
    (CKM_SHA256_RSA_PKCS_PSS, Family::Pss, Some(Hash::Sha256)),
    (CKM_SHA384_RSA_PKCS_PSS, Family::Pss, Some(Hash::Sha384)),
    (CKM_SHA512_RSA_PKCS_PSS, Family::Pss, Some(Hash::Sha512)),
    (CKM_ECDSA, Family::Ecdsa, None),
    (CKM_ECDSA_SHA256, Family::Ecdsa, Some(Hash::Sha256)),
    (CKM_ECDSA_SHA384, Family::Ecdsa, Some(Hash::Sha384)),
    (CKM_ECDSA_SHA512, Family::Ecdsa, Some(Hash::Sha512)),
    (CKM_EDDSA, Family::Ed25519, None),
];

/// Those that only digest: Java signs by RSASSA-PSS only on a token that has the digest too.
const DIGESTING: [(CK_MECHANISM_TYPE, Hash); 3] =
    [(CKM_SHA256, Hash::Sha256), (CKM_SHA384, Hash::Sha384), (CKM_SHA512, Hash::Sha512)];

const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

/// The DER of a DigestInfo up to the digest (RFC 8017 section 9.2, note 1).
const DIGEST_INFOS: [(Hash, [u8; 19]); 3] = [
    (Hash::Sha256, *b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"),
    (Hash::Sha384, *b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"),
    (Hash::Sha512, *b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"),
];

/// The mechanisms of a slot.
pub(crate) fn mechanisms(slot: Slot) -> Vec<CK_MECHANISM_TYPE> {
    let signing = SIGNING.iter().filter(|(_, family, _)| family.slot() == slot).map(|(kind, ..)| *kind);
    match slot {
        Slot::Common => DIGESTING.iter().map(|(kind, _)| *kind).chain(signing).collect(),
        Slot::Ed25519 => signing.collect(),
    }
}

/// Sizes of keys in bits, and flags.
pub(crate) fn mechanism_info(slot: Slot, kind: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO> {
    let info = |ulMinKeySize, ulMaxKeySize, flags| CK_MECHANISM_INFO { ulMinKeySize, ulMaxKeySize, flags };
    if slot == Slot::Common && DIGESTING.iter().any(|(digesting, _)| *digesting == kind) {
        return Ok(info(0, 0, CKF_DIGEST));
    }
    let curve = CKF_SIGN | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
    match SIGNING.iter().find(|(signing, family, _)| *signing == kind && family.slot() == slot) {
        Some((_, Family::Pkcs1 | Family::Pss, _)) => Ok(info(2048, 8192, CKF_SIGN)),
        Some((_, Family::Ecdsa, _)) => Ok(info(256, 521, curve)),
        Some((_, Family::Ed25519, _)) => Ok(info(255, 255, curve)),
        None => Err(CKR_MECHANISM_INVALID),
    }
}

impl Family {
    fn slot(self) -> Slot {
        if self == Self::Ed25519 { Slot::Ed25519 } else { Slot::Common }
    }
}

impl Hash {
    /// That of a mechanism that only digests.
    pub(crate) fn of_digesting(kind: CK_MECHANISM_TYPE) -> Result<Self> {
        DIGESTING.iter().find(|(own, _)| *own == kind).map(|(_, hash)| *hash).ok_or(CKR_MECHANISM_INVALID)
    }

    /// Begins a digest.
    pub(crate) fn begin(self) -> Digest {
        match self {
            Self::Sha256 => Box::new(Sha256::default()),
            Self::Sha384 => Box::new(Sha384::default()),
            Self::Sha512 => Box::new(Sha512::default()),
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        let mut digest = self.begin();
        digest.update(data);
        digest.finalize().into_vec()
    }

    /// The length of its digests in bytes.
    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// That of parameters as TLS has them: one hash for everything, and a salt as long as its digests (RFC 8446 section 4.2.3).
    fn of_pss(parameters: &CK_RSA_PKCS_PSS_PARAMS) -> Option<Self> {
        let hashes = [
            (CKM_SHA256, CKG_MGF1_SHA256, Self::Sha256),
            (CKM_SHA384, CKG_MGF1_SHA384, Self::Sha384),
            (CKM_SHA512, CKG_MGF1_SHA512, Self::Sha512),
        ];
        let is_it = |(digest, mask, hash): &(CK_MECHANISM_TYPE, CK_RSA_PKCS_MGF_TYPE, Self)| {
            parameters.hashAlg == *digest
                && parameters.mgf == *mask
                && usize::try_from(parameters.sLen).is_ok_and(|salt| salt == hash.length())
        };
        hashes.into_iter().find(is_it).map(|(.., hash)| hash)
    }
}

impl Mechanism {
    pub(crate) fn new(kind: CK_MECHANISM_TYPE, parameters: Parameters) -> Result<Self> {
        let (_, family, whole) = *SIGNING.iter().find(|(signing, ..)| *signing == kind).ok_or(CKR_MECHANISM_INVALID)?;
        let hash = match (family, parameters) {
            (Family::Pss, Parameters::Pss(parameters)) => {
                let hash = Hash::of_pss(&parameters).ok_or(CKR_MECHANISM_PARAM_INVALID)?;
                if whole.is_some_and(|whole| whole != hash) {
                    return Err(CKR_MECHANISM_PARAM_INVALID);
                }
                Some(hash)
            }
            // Neither Ed25519ph nor Ed25519ctx
            (Family::Ed25519, Parameters::Eddsa(parameters))
                if parameters.phFlag == CK_FALSE && parameters.ulContextDataLen == 0 =>
            {
                None
            }
            (Family::Pss, _) | (_, Parameters::Pss(_) | Parameters::Eddsa(_) | Parameters::Other) => {
                return Err(CKR_MECHANISM_PARAM_INVALID);
            }
            (_, Parameters::None) => whole,
        };
        Ok(Self { family, is_digested: whole.is_none() && family != Family::Ed25519, hash })
    }

    /// Whether a key of this kind signs by it.
    pub(crate) fn fits(self, key: &KeyKind) -> bool {
        match key {
            KeyKind::Rsa(_) => matches!(self.family, Family::Pkcs1 | Family::Pss),
            KeyKind::RsaPss(_) => self.family == Family::Pss,
            KeyKind::EcP256 | KeyKind::EcP384 | KeyKind::EcP521 => self.family == Family::Ecdsa,
            KeyKind::Ed25519 => self.family == Family::Ed25519,
            _ => false,
        }
    }

    /// What a key of this kind is to sign of the data that a program gave.
    ///
    /// # Errors
    /// `CKR_DATA_INVALID` or `CKR_DATA_LEN_RANGE` when the data is no digest, and `CKR_KEY_TYPE_INCONSISTENT`.
    pub(crate) fn request<'a>(self, key: &KeyKind, data: &'a [u8]) -> Result<Request<'a>> {
        let request = |scheme, is_digest, data: &'a [u8]| Request { scheme, is_digest, data: data.into() };
        match (self.family, self.hash) {
            (Family::Pkcs1, Some(hash)) => Ok(request(pkcs1(hash), false, data)),
            (Family::Pkcs1, None) => {
                let parts = DIGEST_INFOS.iter().find_map(|(hash, info)| Some((*hash, data.strip_prefix(info)?)));
                let (hash, digest) = parts.ok_or(CKR_DATA_INVALID)?;
                check_length(digest, hash)?;
                Ok(request(pkcs1(hash), true, digest))
            }
            (Family::Pss, Some(hash)) => {
                if self.is_digested {
                    check_length(data, hash)?;
                }
                Ok(request(pss(hash), self.is_digested, data))
            }
            (Family::Ecdsa, hash) => {
                let (scheme, own) = ecdsa(key)?;
                match hash {
                    // ECDSA takes as much of any digest as its curve has room for
                    None if HASHES.iter().any(|hash| hash.length() == data.len()) => Ok(request(scheme, true, data)),
                    None => Err(CKR_DATA_LEN_RANGE),
                    Some(hash) if hash == own => Ok(request(scheme, false, data)),
                    // TLS 1.2 has it, but not as a scheme of the curve
                    Some(hash) => Ok(Request { scheme, is_digest: true, data: hash.digest(data).into() }),
                }
            }
            (Family::Ed25519, _) => Ok(request(SignatureScheme::ED25519, false, data)),
            (Family::Pss, None) => Err(CKR_MECHANISM_PARAM_INVALID),
        }
    }
}

fn check_length(digest: &[u8], hash: Hash) -> Result<()> {
    if digest.len() == hash.length() { Ok(()) } else { Err(CKR_DATA_LEN_RANGE) }
}

fn pkcs1(hash: Hash) -> SignatureScheme {
    match hash {
        Hash::Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
        Hash::Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
        Hash::Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
    }
}

fn pss(hash: Hash) -> SignatureScheme {
    match hash {
        Hash::Sha256 => SignatureScheme::RSA_PSS_SHA256,
        Hash::Sha384 => SignatureScheme::RSA_PSS_SHA384,
        Hash::Sha512 => SignatureScheme::RSA_PSS_SHA512,
    }
}

/// The scheme of a curve, and its hash (RFC 8446 section 4.2.3).
fn ecdsa(key: &KeyKind) -> Result<(SignatureScheme, Hash)> {
    match key {
        KeyKind::EcP256 => Ok((SignatureScheme::ECDSA_NISTP256_SHA256, Hash::Sha256)),
        KeyKind::EcP384 => Ok((SignatureScheme::ECDSA_NISTP384_SHA384, Hash::Sha384)),
        KeyKind::EcP521 => Ok((SignatureScheme::ECDSA_NISTP521_SHA512, Hash::Sha512)),
        _ => Err(CKR_KEY_TYPE_INCONSISTENT),
    }
}

/// The size of a signature by a key of this kind, in bytes; `None` if the module does not sign with it.
pub(crate) fn signature_size(key: &KeyKind) -> Option<usize> {
    match key {
        KeyKind::Rsa(bits) | KeyKind::RsaPss(bits) => Some(bits.div_ceil(8)),
        key => coordinate_size(key).map(|size| 2 * size).or((*key == KeyKind::Ed25519).then_some(64)),
    }
}

/// The size of r and of s, in bytes.
fn coordinate_size(key: &KeyKind) -> Option<usize> {
    match key {
        KeyKind::EcP256 => Some(32),
        KeyKind::EcP384 => Some(48),
        KeyKind::EcP521 => Some(66),
        _ => None,
    }
}

/// A signature in the form of PKCS#11: for ECDSA r and s, each as long as the order of the curve, and not the DER of TLS.
///
/// # Errors
/// `CKR_FUNCTION_FAILED` when it is no signature by a key of this kind.
pub(crate) fn in_form_of_pkcs11(key: &KeyKind, signature: Vec<u8>) -> Result<Vec<u8>> {
    let Some(size) = coordinate_size(key) else { return Ok(signature) };
    r_and_s(&signature, size).ok_or(CKR_FUNCTION_FAILED)
}

/// Of an ECDSA-Sig-Value (RFC 3279 section 2.2.3).
fn r_and_s(signature: &[u8], size: usize) -> Option<Vec<u8>> {
    use der::asn1::UintRef;
    use der::{Decode, Sequence};

    #[derive(Sequence)]
    struct Signature<'a> {
        r: UintRef<'a>,
        s: UintRef<'a>,
    }

    let signature = Signature::from_der(signature).ok()?;
    let mut both = Vec::with_capacity(2 * size);
    for number in [signature.r, signature.s] {
        let number = number.as_bytes();
        both.extend(std::iter::repeat_n(0, size.checked_sub(number.len())?));
        both.extend(number);
    }
    Some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pss_parameters(hash: CK_MECHANISM_TYPE, mask: CK_RSA_PKCS_MGF_TYPE, salt: CK_ULONG) -> Parameters {
        Parameters::Pss(CK_RSA_PKCS_PSS_PARAMS { hashAlg: hash, mgf: mask, sLen: salt })
    }

    #[test]
    fn each_slot_has_its_mechanisms() {
        for slot in [Slot::Common, Slot::Ed25519] {
            for kind in mechanisms(slot) {
                assert!(mechanism_info(slot, kind).is_ok(), "{kind:x}");
            }
        }
        assert_eq!(mechanisms(Slot::Ed25519), [CKM_EDDSA]);
        assert!(!mechanisms(Slot::Common).contains(&CKM_EDDSA));
        for kind in [CKM_RSA_X_509, CKM_SHA1_RSA_PKCS, CKM_SHA_1, CKM_AES_CBC, CK_UNAVAILABLE_INFORMATION] {
            assert!(mechanism_info(Slot::Common, kind).is_err(), "{kind:x}");
            assert!(Mechanism::new(kind, Parameters::None).is_err(), "{kind:x}");
        }
    }

    #[test]
    fn only_the_parameters_of_tls_are_taken() {
        let sha256 = pss_parameters(CKM_SHA256, CKG_MGF1_SHA256, 32);
        let bad = [
            pss_parameters(CKM_SHA256, CKG_MGF1_SHA384, 32),
            pss_parameters(CKM_SHA256, CKG_MGF1_SHA256, 20),
            pss_parameters(CKM_SHA_1, CKG_MGF1_SHA1, 20),
            Parameters::None,
            Parameters::Other,
        ];
        for kind in [CKM_RSA_PKCS_PSS, CKM_SHA256_RSA_PKCS_PSS] {
            assert!(Mechanism::new(kind, sha256).is_ok());
            for parameters in bad {
                assert_eq!(Mechanism::new(kind, parameters), Err(CKR_MECHANISM_PARAM_INVALID));
            }
        }
        assert_eq!(Mechanism::new(CKM_SHA384_RSA_PKCS_PSS, sha256), Err(CKR_MECHANISM_PARAM_INVALID));
        assert_eq!(Mechanism::new(CKM_ECDSA, sha256), Err(CKR_MECHANISM_PARAM_INVALID));
        let eddsa = |phFlag, ulContextDataLen| {
            Parameters::Eddsa(CK_EDDSA_PARAMS { phFlag, ulContextDataLen, pContextData: std::ptr::null_mut() })
        };
        assert!(Mechanism::new(CKM_EDDSA, Parameters::None).is_ok());
        assert!(Mechanism::new(CKM_EDDSA, eddsa(CK_FALSE, 0)).is_ok());
        assert!(Mechanism::new(CKM_EDDSA, eddsa(CK_TRUE, 0)).is_err());
        assert!(Mechanism::new(CKM_EDDSA, eddsa(CK_FALSE, 3)).is_err());
    }

    #[test]
    fn a_digest_is_told_from_a_whole_message() {
        let (rsa, p256) = (KeyKind::Rsa(2048), KeyKind::EcP256);
        let mechanism = |kind| Mechanism::new(kind, Parameters::None).unwrap();
        let of = |kind, key: &KeyKind, data: &[u8]| {
            mechanism(kind).request(key, data).map(|request| (request.scheme, request.is_digest, request.data.to_vec()))
        };
        let (digest, long) = (vec![7; 32], vec![8; 48]);
        let info = [&DIGEST_INFOS[0].1[..], &digest].concat();
        assert_eq!(of(CKM_RSA_PKCS, &rsa, &info), Ok((SignatureScheme::RSA_PKCS1_SHA256, true, digest.clone())));
        for no_digest in [&digest[..], b"", &info[..50], &[&info[..], b"x"].concat()] {
            assert!(of(CKM_RSA_PKCS, &rsa, no_digest).is_err());
        }
        let whole = (SignatureScheme::RSA_PKCS1_SHA384, false, b"message".to_vec());
        assert_eq!(of(CKM_SHA384_RSA_PKCS, &rsa, b"message"), Ok(whole));
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        assert_eq!(of(CKM_ECDSA, &p256, &long), Ok((scheme, true, long)));
        assert_eq!(of(CKM_ECDSA_SHA256, &p256, b"message"), Ok((scheme, false, b"message".to_vec())));
        assert_eq!(of(CKM_ECDSA_SHA384, &p256, b"m"), Ok((scheme, true, Hash::Sha384.digest(b"m"))));
        for length in [0, 20, 31, 65] {
            assert_eq!(of(CKM_ECDSA, &p256, &vec![0; length]), Err(CKR_DATA_LEN_RANGE));
        }
        assert_eq!(of(CKM_EDDSA, &KeyKind::Ed25519, b"m"), Ok((SignatureScheme::ED25519, false, b"m".to_vec())));
    }

    #[test]
    fn keys_sign_by_mechanisms_of_their_kind_alone() {
        let pss = Mechanism::new(CKM_RSA_PKCS_PSS, pss_parameters(CKM_SHA256, CKG_MGF1_SHA256, 32)).unwrap();
        let pkcs1 = Mechanism::new(CKM_RSA_PKCS, Parameters::None).unwrap();
        let ecdsa = Mechanism::new(CKM_ECDSA, Parameters::None).unwrap();
        for (key, fits) in [
            (KeyKind::Rsa(2048), [true, true, false]),
            (KeyKind::RsaPss(2048), [true, false, false]),
            (KeyKind::EcP384, [false, false, true]),
            (KeyKind::Ed25519, [false; 3]),
            (KeyKind::Other("dsa".to_owned()), [false; 3]),
        ] {
            assert_eq!([pss, pkcs1, ecdsa].map(|mechanism| mechanism.fits(&key)), fits, "{key}");
        }
    }

    #[test]
    fn an_ecdsa_signature_is_two_numbers_of_equal_length() {
        let key = KeyKind::EcP256;
        let short = b"\x30\x07\x02\x01\x05\x02\x02\x00\x80".to_vec();
        let mut expected = [0; 64];
        (expected[31], expected[63]) = (5, 0x80);
        assert_eq!(in_form_of_pkcs11(&key, short), Ok(expected.to_vec()));
        // r is longer than the order of the curve
        let long = [&b"\x30\x26\x02\x21\x01"[..], &[0; 32], b"\x02\x01\x05"].concat();
        for bad in [long, b"\x30\x00".to_vec(), Vec::new(), vec![0; 64]] {
            assert_eq!(in_form_of_pkcs11(&key, bad), Err(CKR_FUNCTION_FAILED));
        }
        assert_eq!(in_form_of_pkcs11(&KeyKind::Rsa(2048), vec![1, 2]), Ok(vec![1, 2]));
        assert_eq!(signature_size(&KeyKind::EcP521), Some(132));
        assert_eq!(signature_size(&KeyKind::Rsa(2047)), Some(256));
        assert_eq!(signature_size(&KeyKind::Other("dsa".to_owned())), None);
    }
}
