//! Private keys and trust, as objects of PKCS#11 with NSS's own attributes.

use std::borrow::Cow;
use std::collections::HashMap;

use der::asn1::{ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Tag};
use pkcs8::{AlgorithmIdentifierRef, PrivateKeyInfoRef};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::database::{Attribute, Entry, Object};
use super::seal::{Code, Passkey, Sealed};
use crate::certificate::Certificate;
use crate::certificate::curve::{Curve, compressed, without_zeros};
use crate::certificate::element::{Element, encode};
use crate::certificate::public_key::{EC, ED25519, RSA, rsa_public_key};
use crate::error::file::{Error, damaged};
use crate::file::limits::Limits;

/// CKO_*
pub(super) const CERTIFICATE: u32 = 1;
pub(super) const PRIVATE_KEY: u32 = 3;
/// Of PKCS#11 3.2, since NSS 3.114.
pub(super) const TRUST: u32 = 0xb;
/// NSS's own.
pub(super) const NSS_TRUST: u32 = 0xce53_4353;

/// CKA_*
pub(super) const LABEL: Attribute = 0x3;
pub(super) const VALUE: Attribute = 0x11;
pub(super) const CLASS: Attribute = 0;
const ISSUER: Attribute = 0x81;
const SERIAL_NUMBER: Attribute = 0x82;
const NAME_HASH_ALGORITHM: Attribute = 0x8c;
const KEY_TYPE: Attribute = 0x100;
pub(super) const ID: Attribute = 0x102;
const MODULUS: Attribute = 0x120;
const PUBLIC_EXPONENT: Attribute = 0x122;
/// The private exponent, both primes, both exponents and the coefficient, each sealed alone.
const RSA_SECRETS: [Attribute; 6] = [0x123, 0x124, 0x125, 0x126, 0x127, 0x128];
const EC_PARAMS: Attribute = 0x180;
const HASH_OF_CERTIFICATE: Attribute = 0x635;
const PUBLIC_PART: Attribute = 0xd5a0_db00;
const CERT_SHA1_HASH: Attribute = 0xce53_63b4;
const TRUST_SERVER_AUTH: Attribute = 0x62c;
const NSS_TRUST_SERVER_AUTH: Attribute = 0xce53_6358;

/// The values of [`TRUST_SERVER_AUTH`] and [`NSS_TRUST_SERVER_AUTH`] for a CA that verifies servers.
const TRUST_ANCHOR: u32 = 2;
const NSS_TRUSTED_DELEGATOR: u32 = 0xce53_4352;

/// The attributes that are read of certificates and of trust.
pub(super) const PUBLIC: [Attribute; 11] = [
    CLASS,
    LABEL,
    VALUE,
    ISSUER,
    SERIAL_NUMBER,
    NAME_HASH_ALGORITHM,
    HASH_OF_CERTIFICATE,
    CERT_SHA1_HASH,
    TRUST_SERVER_AUTH,
    NSS_TRUST_SERVER_AUTH,
    ID,
];

/// The attributes that are read of private keys.
pub(super) const PRIVATE: [Attribute; 15] = [
    CLASS,
    LABEL,
    VALUE,
    KEY_TYPE,
    ID,
    MODULUS,
    PUBLIC_EXPONENT,
    EC_PARAMS,
    PUBLIC_PART,
    RSA_SECRETS[0],
    RSA_SECRETS[1],
    RSA_SECRETS[2],
    RSA_SECRETS[3],
    RSA_SECRETS[4],
    RSA_SECRETS[5],
];

/// CKK_*
const RSA_KEY: u32 = 0;
const EC_KEY: u32 = 3;
const EDWARDS_KEY: u32 = 0x40;

/// The entries of `metaData` by their names.
pub(super) type Entries = HashMap<String, Entry>;

/// A private key that is sealed.
pub(super) struct SealedKey<'a> {
    form: Form<'a>,
    /// In the order of [`RSA_SECRETS`], or the only one.
    secrets: Vec<Secret>,
}

/// What of a key is not sealed.
enum Form<'a> {
    Rsa { modulus: &'a [u8], exponent: &'a [u8] },
    Ec { curve: &'static Curve, parameters: &'a [u8] },
    Ed25519,
}

struct Secret {
    attribute: Attribute,
    sealed: Sealed,
    codes: Vec<Code>,
}

/// The public key of a private key, in the form in which those of certificates are compared; `None` where the object does not say it,
/// as in databases that were converted from the old form.
pub(super) fn public_key(key: &Object) -> Option<Cow<'_, [u8]>> {
    let public = || key.get(PUBLIC_PART).filter(|public| !public.is_empty());
    match key.number(KEY_TYPE)? {
        RSA_KEY => {
            let modulus = key.get(MODULUS).or_else(public)?;
            rsa_public_key(without_zeros(modulus), without_zeros(key.get(PUBLIC_EXPONENT)?)).map(Cow::Owned)
        }
        EC_KEY => {
            let point = public()?;
            // CKA_EC_POINT is in an OCTET STRING, which begins with the same byte as a point; this attribute is not
            let inner = Element::only(point).filter(|element| element.tag == Tag::OctetString);
            compressed(inner.map_or(point, |element| element.body)).map(Cow::Owned)
        }
        _ => public().map(Cow::Borrowed),
    }
}

impl<'a> SealedKey<'a> {
    /// Reads what a private key consists of, and checks what it costs to open it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for other kinds of keys; [`Error::Damaged`], [`Error::TooCostly`].
    pub(super) fn read(object: &'a Object, entries: &Entries, limits: &Limits) -> Result<Self, Error> {
        let missing = || damaged("a private key without all its attributes");
        let form = match object.number(KEY_TYPE).ok_or_else(missing)? {
            RSA_KEY => Form::Rsa {
                modulus: object.get(MODULUS).ok_or_else(missing)?,
                exponent: object.get(PUBLIC_EXPONENT).ok_or_else(missing)?,
            },
            EC_KEY => {
                let parameters = object.get(EC_PARAMS).ok_or_else(missing)?;
                let oid = Element::only(parameters).and_then(Element::oid);
                let oid = oid.ok_or_else(|| damaged("the curve of a private key"))?;
                // NSS has no others
                let curve = Curve::from_oid(oid).filter(|curve| curve.scheme.is_some());
                Form::Ec { curve: curve.ok_or_else(|| unsupported(format!("EC on the curve {oid}")))?, parameters }
            }
            EDWARDS_KEY => match object.get(EC_PARAMS) {
                // By its object identifier, or by its name as PKCS#11 3.0 allows
                Some(
                    [6, 3, 0x2b, 0x65, 0x70]
                    | [0x13, 12, b'e', b'd', b'w', b'a', b'r', b'd', b's', b'2', b'5', b'5', b'1', b'9'],
                ) => Form::Ed25519,
                _ => return Err(unsupported("Edwards curve other than Ed25519".to_owned())),
            },
            other => return Err(unsupported(kind_name(other))),
        };
        let attributes: &[Attribute] = if let Form::Rsa { .. } = form { &RSA_SECRETS } else { &[VALUE] };
        let secret = |attribute: &Attribute| {
            let sealed = Sealed::read(object.get(*attribute).ok_or_else(missing)?, limits)?;
            let codes =
                if sealed.needs_code() { codes(object.handle, *attribute, entries, limits)? } else { Vec::new() };
            Ok(Secret { attribute: *attribute, sealed, codes })
        };
        Ok(Self { form, secrets: attributes.iter().map(secret).collect::<Result<_, Error>>()? })
    }

    /// The work to open it, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        self.secrets.iter().fold(0, |sum, secret| {
            let codes = secret.codes.iter().fold(0_u64, |sum, code| sum.saturating_add(code.rounds()));
            codes.saturating_add(secret.sealed.rounds()).saturating_add(sum)
        })
    }

    /// The DER of its PrivateKeyInfo.
    pub(super) fn open(&self, passkey: &Passkey) -> Result<Zeroizing<Vec<u8>>, Error> {
        let wrong = || damaged("the numbers of a private key");
        let secrets = self.secrets.iter().map(|secret| secret.open(passkey)).collect::<Result<Vec<_>, _>>()?;
        let only = || secrets.first().map(|secret| secret.as_slice()).ok_or_else(wrong);
        match &self.form {
            Form::Rsa { modulus, exponent } => {
                let numbers = [*modulus, *exponent].into_iter().chain(secrets.iter().map(|secret| secret.as_slice()));
                let key = rsa_private_key(numbers).ok_or_else(wrong)?;
                private_key_info(RSA[0], Some(&[5, 0]), &key)
            }
            Form::Ec { curve, parameters } => {
                let secret = without_zeros(only()?);
                let zeros = curve.size.checked_sub(secret.len()).ok_or_else(wrong)?;
                let padded = Zeroizing::new([vec![0; zeros].as_slice(), secret].concat());
                let octets = encode(Tag::OctetString, &padded).ok_or_else(wrong)?;
                let body = Zeroizing::new([[2, 1, 1].as_slice(), &octets].concat());
                let key = encode(Tag::Sequence, &body).ok_or_else(wrong)?;
                private_key_info(EC, Some(parameters), &key)
            }
            Form::Ed25519 => {
                let seed = encode(Tag::OctetString, only()?).ok_or_else(wrong)?;
                private_key_info(ED25519, None, &seed)
            }
        }
    }
}

impl Secret {
    /// NSS, too, refuses what has no code or a wrong one.
    fn open(&self, passkey: &Passkey) -> Result<Zeroizing<Vec<u8>>, Error> {
        let plaintext = self.sealed.open(passkey)?.ok_or_else(|| damaged("a part of a private key does not open"))?;
        if !self.sealed.needs_code() {
            return Ok(plaintext);
        }
        for code in &self.codes {
            if code.fits(passkey, 0, self.attribute, &plaintext)? {
                return Ok(plaintext);
            }
        }
        Err(damaged(match self.codes.is_empty() {
            true => "a part of a private key has no authentication code",
            false => "a part of a private key has a wrong authentication code",
        }))
    }
}

/// The codes of an attribute of a private key. NSS before 3.69 wrote them under the second name when the password was changed, and left
/// old ones under the first. One that cannot be read does not matter where another can.
fn codes(handle: u32, attribute: Attribute, entries: &Entries, limits: &Limits) -> Result<Vec<Code>, Error> {
    let names = [handle, handle | 0xc000_0000].map(|handle| format!("sig_key_{handle:08x}_{attribute:08x}"));
    let found = names.iter().filter_map(|name| entries.get(name)?.item1.as_deref());
    let (mut codes, mut unreadable) = (Vec::new(), None);
    for code in found {
        match Code::read(code, limits) {
            Ok(code) => codes.push(code),
            Err(error) => unreadable = Some(error),
        }
    }
    match unreadable {
        Some(error) if codes.is_empty() => Err(error),
        _ => Ok(codes),
    }
}

/// RSAPrivateKey (RFC 8017 appendix A.1.2) of two primes, from its eight numbers.
fn rsa_private_key<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Option<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(vec![2, 1, 0]);
    for number in numbers {
        let number = Zeroizing::new(UintRef::new(without_zeros(number)).ok()?.to_der().ok()?);
        // A vector that grows would leave a copy behind
        body = Zeroizing::new([body.as_slice(), &number].concat());
    }
    encode(Tag::Sequence, &body)
}

/// PrivateKeyInfo of version 0 (RFC 5208 section 5).
fn private_key_info(oid: ObjectIdentifier, parameters: Option<&[u8]>, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let write = || -> der::Result<Zeroizing<Vec<u8>>> {
        let parameters = parameters.map(der::asn1::AnyRef::from_der).transpose()?;
        let info = PrivateKeyInfoRef::new(AlgorithmIdentifierRef { oid, parameters }, OctetStringRef::new(key)?);
        info.to_der().map(Zeroizing::new)
    };
    write().map_err(|_| damaged("the numbers of a private key"))
}

fn unsupported(name: String) -> Error {
    Error::Unsupported { what: "kind of key", name, advice: "it cannot be used in TLS here" }
}

fn kind_name(kind: u32) -> String {
    match kind {
        1 => "DSA".to_owned(),
        2 => "Diffie-Hellman".to_owned(),
        0x41 => "a Montgomery curve".to_owned(),
        0x49 => "ML-KEM".to_owned(),
        0x4a => "ML-DSA".to_owned(),
        0x4b => "SLH-DSA".to_owned(),
        other => format!("number {other:#x} of PKCS#11"),
    }
}

/// What a database says of the trust in one certificate.
pub(super) struct Trust {
    handle: u32,
    attribute: Attribute,
    value: [u8; 4],
    code: Code,
}

impl Trust {
    /// The trust of a CA that verifies servers, if an object says it of this certificate. The newer kind of object goes first, as in
    /// NSS.
    pub(super) fn find(
        certificate: &Certificate,
        serial: &[u8],
        objects: &TrustIndex<'_>,
        entries: &Entries,
        limits: &Limits,
    ) -> Option<Self> {
        let about = objects.0.get(&(certificate.issuer().der(), serial))?;
        let newer = about.iter().find(|object| object.number(CLASS) == Some(TRUST));
        let object = newer.or(about.first())?;
        let (attribute, trusted) = match newer {
            Some(_) => (TRUST_SERVER_AUTH, TRUST_ANCHOR),
            None => (NSS_TRUST_SERVER_AUTH, NSS_TRUSTED_DELEGATOR),
        };
        if object.number(attribute) != Some(trusted) || !is_about(object, certificate) {
            return None;
        }
        let code = entries.get(&format!("sig_cert_{:08x}_{attribute:08x}", object.handle))?.item1.as_deref()?;
        let code = Code::read(code, limits).ok()?;
        Some(Self { handle: object.handle, attribute, value: trusted.to_be_bytes(), code })
    }

    /// The work to check it, in rounds of a digest.
    pub(super) fn rounds(&self) -> u64 {
        self.code.rounds()
    }

    /// Whether somebody who knew the password wrote it.
    pub(super) fn is_authentic(&self, passkey: &Passkey) -> bool {
        self.code.fits(passkey, self.handle, self.attribute, &self.value).unwrap_or(false)
    }
}

/// Objects of trust, by the issuer and the serial number of their certificate.
pub(super) struct TrustIndex<'a>(HashMap<(&'a [u8], &'a [u8]), Vec<&'a Object>>);

impl<'a> TrustIndex<'a> {
    pub(super) fn new(objects: &'a [Object]) -> Self {
        let mut index: HashMap<_, Vec<&Object>> = HashMap::new();
        for object in objects.iter().filter(|object| matches!(object.number(CLASS), Some(TRUST | NSS_TRUST))) {
            if let (Some(issuer), Some(serial)) = (object.get(ISSUER), object.get(SERIAL_NUMBER)) {
                index.entry((issuer, serial)).or_default().push(object);
            }
        }
        Self(index)
    }
}

/// The serial number of a certificate as the database has it: the DER of an INTEGER.
pub(super) fn serial_number(certificate: &Object) -> Option<&[u8]> {
    certificate.get(SERIAL_NUMBER)
}

/// Whether an object's hash is that of the certificate.
fn is_about(object: &Object, certificate: &Certificate) -> bool {
    let der = certificate.der();
    let (hash, computed) = match object.number(CLASS) {
        Some(TRUST) => {
            // CKM_SHA_1, CKM_SHA256, CKM_SHA384, CKM_SHA512
            let computed = match object.number(NAME_HASH_ALGORITHM) {
                Some(0x220) => Sha1::digest(der).to_vec(),
                Some(0x250) => Sha256::digest(der).to_vec(),
                Some(0x260) => Sha384::digest(der).to_vec(),
                Some(0x270) => Sha512::digest(der).to_vec(),
                _ => Vec::new(),
            };
            (object.get(HASH_OF_CERTIFICATE), computed)
        }
        _ => (object.get(CERT_SHA1_HASH), Sha1::digest(der).to_vec()),
    };
    hash.is_some_and(|hash| !hash.is_empty() && hash == computed)
}
