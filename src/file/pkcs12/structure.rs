//! The structure of a PKCS#12 file, parsed by the `p12` crate. Only this file reads with that crate.
//!
//! p12 0.6.3 asserts on some of what it reads, accepts any iteration count, and uses yasna 0.5, which slices out of range on
//! crafted lengths. Therefore it sees only what [`ber::to_der`] has converted. Versions and content types are checked before
//! it asserts on them. Attributes are removed, because it drops a bag with an odd one. A panic in it becomes an error. This
//! file uses its types, their `parse`, and `decrypt_pbe`, but never `bags`, `key_bags`, `verify_mac` or `PFX::new`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use der::oid::ObjectIdentifier;
use yasna::{ASN1Result, BERReader};
use zeroize::Zeroizing;

use super::attributes::Attributes;
use super::ber::{self, BerError, Element, Elements};
use super::names;
use crate::error::file::{Error, damaged};
use crate::file::contents::PassedOver;
use crate::file::limits::Limits;

const SHA1: &str = "1.3.14.3.2.26";
const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
const CRL_BAG: &str = "1.2.840.113549.1.12.10.1.4";
const SECRET_BAG: &str = "1.2.840.113549.1.12.10.1.5";
const SAFE_CONTENTS_BAG: &str = "1.2.840.113549.1.12.10.1.6";
const X509_CERTIFICATE: &str = "1.2.840.113549.1.9.22.1";
const SDSI_CERTIFICATE: &str = "1.2.840.113549.1.9.22.2";
const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";

/// How many nonzero bytes may follow the plaintext: not more than padding that was applied twice.
const MAX_TRAILING: usize = 32;

/// PFX (RFC 7292 section 4).
pub(super) struct Pfx {
    /// The AuthenticatedSafe, as the MAC covers it.
    pub(super) content: Zeroizing<Vec<u8>>,
    pub(super) mac: Option<MacData>,
}

/// MacData (RFC 7292 section 4).
pub(super) struct MacData {
    pub(super) algorithm: String,
    /// DER of the algorithm's parameters; empty when there are none.
    pub(super) parameters: Vec<u8>,
    pub(super) digest: Vec<u8>,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u64,
}

/// ContentInfo in the AuthenticatedSafe (RFC 7292 section 4.1).
pub(super) enum Content {
    Plain(Zeroizing<Vec<u8>>),
    Encrypted(Encrypted),
    /// Of another type, by its object identifier.
    Other(String),
}

/// A ciphertext and its algorithm.
pub(super) struct Encrypted {
    pub(super) algorithm: Algorithm,
    pub(super) ciphertext: Vec<u8>,
}

/// An encryption algorithm with its parameters.
pub(super) enum Algorithm {
    /// An algorithm that `p12` supports.
    Old(OldPbe),
    Other {
        oid: String,
        /// DER; empty when there are none.
        parameters: Vec<u8>,
    },
}

/// 40-bit RC2 or 3-key 3DES (RFC 7292 appendix C).
#[derive(Debug)]
pub(super) struct OldPbe(p12::AlgorithmIdentifier);

/// SafeBag (RFC 7292 section 4.2).
pub(super) struct Bag {
    pub(super) value: BagValue,
    pub(super) attributes: Attributes,
}

pub(super) enum BagValue {
    Certificate(Vec<u8>),
    Key(Zeroizing<Vec<u8>>),
    ShroudedKey(Encrypted),
    /// SafeContents in a bag.
    Nested(Zeroizing<Vec<u8>>),
    PassedOver(PassedOver),
}

impl OldPbe {
    pub(super) fn iterations(&self) -> u64 {
        match &self.0 {
            p12::AlgorithmIdentifier::PbewithSHAAnd40BitRC2CBC(params)
            | p12::AlgorithmIdentifier::PbeWithSHAAnd3KeyTripleDESCBC(params) => params.iterations,
            _ => 0,
        }
    }

    /// How many times the rounds are done: for key and IV, 20 bytes at a time.
    pub(super) fn derivations(&self) -> u64 {
        match &self.0 {
            p12::AlgorithmIdentifier::PbeWithSHAAnd3KeyTripleDESCBC(_) => 3,
            _ => 2,
        }
    }

    /// Decrypts. `None` when the padding is wrong, and so the password.
    pub(super) fn decrypt(&self, ciphertext: &[u8], password: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let plaintext = walled(|| self.0.decrypt_pbe(ciphertext, password))?;
        Ok(plaintext.map(Zeroizing::new))
    }
}

/// Reads the outermost structure, from DER.
pub(super) fn pfx(der: &[u8], limits: &Limits) -> Result<Pfx, Error> {
    let der = with_mac_iterations(der, limits)?;
    let pfx = walled(|| p12::PFX::parse(&der))?.map_err(|_| damaged("its outermost structure"))?;
    let p12::ContentInfo::Data(content) = pfx.auth_safe else {
        return Err(damaged("its outermost structure"));
    };
    let content = Zeroizing::new(content);
    Ok(Pfx { content, mac: pfx.mac_data.map(mac_data) })
}

fn mac_data(mac: p12::MacData) -> MacData {
    let (algorithm, parameters) = match mac.mac.digest_algorithm {
        p12::AlgorithmIdentifier::Sha1 => (SHA1.to_owned(), Vec::new()),
        p12::AlgorithmIdentifier::OtherAlg(other) => {
            (other.algorithm_type.to_string(), other.params.unwrap_or_default())
        }
        // A cipher instead of a digest: no table of digests has its identifier
        cipher => (old_oid(&cipher).to_owned(), Vec::new()),
    };
    MacData { algorithm, parameters, digest: mac.mac.digest, salt: mac.salt, iterations: mac.iterations.into() }
}

fn old_oid(algorithm: &p12::AlgorithmIdentifier) -> &'static str {
    match algorithm {
        p12::AlgorithmIdentifier::PbeWithSHAAnd3KeyTripleDESCBC(_) => "1.2.840.113549.1.12.1.3",
        _ => "1.2.840.113549.1.12.1.6",
    }
}

/// Checks the version and the type of what the MAC covers, and adds the default of `MacData.iterations`, which p12 does not
/// know.
fn with_mac_iterations(der: &[u8], limits: &Limits) -> Result<Zeroizing<Vec<u8>>, Error> {
    let wrong = || damaged("its outermost structure");
    let mut parts = Elements(der).next_if(ber::SEQUENCE).ok_or_else(wrong)?.children();
    let version = parts.next_if(ber::INTEGER).ok_or_else(wrong)?;
    if version.body != [3] {
        return Err(damaged("its version is not 3"));
    }
    let content = parts.next_if(ber::SEQUENCE).ok_or_else(wrong)?;
    let content_type = content.children().next_if(ber::OBJECT_IDENTIFIER).map(oid_of).ok_or_else(wrong)?;
    if content_type != DATA {
        return Err(names::unsupported("integrity mode", content_type));
    }
    let Some(mac) = parts.next_if(ber::SEQUENCE) else {
        return Ok(Zeroizing::new(der.to_vec()));
    };
    let mut fields = mac.children();
    let (Some(_), Some(_)) = (fields.next_if(ber::SEQUENCE), fields.next_if(ber::OCTET_STRING)) else {
        return Err(damaged("the MAC"));
    };
    if let Some(iterations) = fields.next_if(ber::INTEGER) {
        check_mac_iterations(iterations, limits)?;
        return Ok(Zeroizing::new(der.to_vec()));
    }
    let mac = ber::encode(ber::SEQUENCE, &[mac.body, &[ber::INTEGER, 1, 1]].concat());
    let body = Zeroizing::new([version.whole, content.whole, &mac].concat());
    Ok(ber::encode(ber::SEQUENCE, &body))
}

/// p12 calls a number over 32 bits malformed; this gives an error with the number instead.
fn check_mac_iterations(iterations: Element<'_>, limits: &Limits) -> Result<(), Error> {
    if iterations.body.first().is_none_or(|first| first & 0x80 != 0) {
        return Err(damaged("the MAC's number of rounds is negative"));
    }
    let value = iterations
        .body
        .iter()
        .try_fold(0_u64, |value, octet| value.checked_mul(256).map(|value| value | u64::from(*octet)));
    match value {
        Some(value) if value <= u32::MAX.into() => Ok(()),
        value => limits.check_iterations(value.unwrap_or(u64::MAX)).and(Err(damaged("the MAC's number of rounds"))),
    }
}

/// Reads the AuthenticatedSafe.
pub(super) fn contents(authenticated_safe: &[u8], limits: &Limits) -> Result<Vec<Content>, Error> {
    let (der, _) = ber::to_der(authenticated_safe).map_err(BerError::inside)?;
    let contents = Elements(&der).next_if(ber::SEQUENCE).ok_or_else(|| damaged("the list of safes"))?;
    limits.check_entries(contents.children().count())?;
    contents.children().map(content).collect()
}

fn content(element: Element<'_>) -> Result<Content, Error> {
    let mut parts = element.children();
    let oid = parts.next_if(ber::OBJECT_IDENTIFIER).map(oid_of).ok_or_else(|| damaged("a safe without a type"))?;
    if oid == ENCRYPTED_DATA {
        check_encrypted_data(parts)?;
    } else if oid != DATA {
        return Ok(Content::Other(oid));
    }
    Ok(match parse(element.whole, p12::ContentInfo::parse, "a safe")? {
        p12::ContentInfo::Data(data) => Content::Plain(Zeroizing::new(data)),
        p12::ContentInfo::EncryptedData(data) => {
            let info = data.encrypted_content_info;
            Content::Encrypted(encrypted(info.content_encryption_algorithm, info.encrypted_content))
        }
        p12::ContentInfo::OtherContext(other) => Content::Other(other.content_type.to_string()),
    })
}

/// Checks what p12 asserts: version 0, content of type data.
fn check_encrypted_data(mut parts: Elements<'_>) -> Result<(), Error> {
    let mut data = parts
        .next_if(ber::CONTEXT_0)
        .and_then(|explicit| explicit.children().next_if(ber::SEQUENCE))
        .ok_or_else(|| damaged("an encrypted safe without content"))?
        .children();
    if data.next_if(ber::INTEGER).is_none_or(|version| version.body != [0]) {
        return Err(damaged("the version of an encrypted safe is not 0"));
    }
    let inner = data.next_if(ber::SEQUENCE).and_then(|info| info.children().next_if(ber::OBJECT_IDENTIFIER));
    match inner.map(oid_of) {
        Some(oid) if oid == DATA => Ok(()),
        Some(oid) => Err(names::unsupported("content of an encrypted safe", oid)),
        None => Err(damaged("an encrypted safe without a type")),
    }
}

fn encrypted(algorithm: p12::AlgorithmIdentifier, ciphertext: Vec<u8>) -> Encrypted {
    let algorithm = match algorithm {
        p12::AlgorithmIdentifier::OtherAlg(other) => {
            Algorithm::Other { oid: other.algorithm_type.to_string(), parameters: other.params.unwrap_or_default() }
        }
        p12::AlgorithmIdentifier::Sha1 => Algorithm::Other { oid: SHA1.to_owned(), parameters: Vec::new() },
        old => Algorithm::Old(OldPbe(old)),
    };
    Encrypted { algorithm, ciphertext }
}

/// DER of SafeContents, if `bytes` are that: this shows whether decryption succeeded.
pub(super) fn safe_contents(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (der, used) = ber::to_der(bytes).ok()?;
    let mut bags = Elements(&der).next_if(ber::SEQUENCE)?.children();
    let trailing = bytes.get(used..)?;
    let empty = bags.0.is_empty();
    let plausible =
        bags.all(|bag| bag.tag == ber::SEQUENCE && bag.children().next_if(ber::OBJECT_IDENTIFIER).is_some());
    (plausible && acceptable(trailing, empty)).then_some(der)
}

/// DER of a PrivateKeyInfo (RFC 5208 section 5, RFC 5958), if `bytes` are that.
pub(super) fn private_key(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (der, used) = ber::to_der(bytes).ok()?;
    let mut fields = Elements(&der).next_if(ber::SEQUENCE)?.children();
    fields.next_if(ber::INTEGER)?;
    fields.next_if(ber::SEQUENCE)?.children().next_if(ber::OBJECT_IDENTIFIER)?;
    fields.next_if(ber::OCTET_STRING)?;
    acceptable(bytes.get(used..)?, false).then_some(der)
}

/// Whether these bytes may follow the plaintext. Nothing may follow an empty sequence: a wrong password produces its two bytes
/// too often.
fn acceptable(trailing: &[u8], empty: bool) -> bool {
    trailing.is_empty() || (!empty && (trailing.len() <= MAX_TRAILING || trailing.iter().all(|byte| *byte == 0)))
}

/// Reads the bags of SafeContents, from DER, one after the other.
pub(super) fn bags(der: &[u8]) -> Result<impl Iterator<Item = Result<Bag, Error>>, Error> {
    let safe = Elements(der).next_if(ber::SEQUENCE).ok_or_else(|| damaged("a safe is no list of bags"))?;
    Ok(safe.children().map(bag))
}

fn bag(element: Element<'_>) -> Result<Bag, Error> {
    let mut parts = element.children();
    let oid = parts.next_if(ber::OBJECT_IDENTIFIER).ok_or_else(|| damaged("a bag without a type"))?;
    let value = parts.next_if(ber::CONTEXT_0).ok_or_else(|| damaged("a bag without a value"))?;
    let attributes = parts.next_if(ber::SET).map(Attributes::read).unwrap_or_default();
    let bare = Zeroizing::new([oid.whole, value.whole].concat());
    let value = match unknown_certificate(&oid_of(oid), value) {
        Some(passed_over) => BagValue::PassedOver(passed_over),
        None => bag_value(&ber::encode(ber::SEQUENCE, &bare))?,
    };
    Ok(Bag { value, attributes })
}

/// A certificate of a type that p12 rejects.
fn unknown_certificate(bag: &str, value: Element<'_>) -> Option<PassedOver> {
    if bag != CERTIFICATE_BAG {
        return None;
    }
    let oid = oid_of(value.children().next_if(ber::SEQUENCE)?.children().next_if(ber::OBJECT_IDENTIFIER)?);
    match oid.as_str() {
        X509_CERTIFICATE => None,
        SDSI_CERTIFICATE => Some(PassedOver::SdsiCertificate),
        _ => Some(PassedOver::UnknownCertificate(oid)),
    }
}

fn bag_value(der: &[u8]) -> Result<BagValue, Error> {
    let bag = parse(der, p12::SafeBag::parse, "a bag")?;
    Ok(match bag.bag {
        p12::SafeBagKind::CertBag(p12::CertBag::X509(certificate)) => BagValue::Certificate(certificate),
        p12::SafeBagKind::CertBag(p12::CertBag::SDSI(_)) => BagValue::PassedOver(PassedOver::SdsiCertificate),
        p12::SafeBagKind::Pkcs8ShroudedKeyBag(key) => {
            BagValue::ShroudedKey(encrypted(key.encryption_algorithm, key.encrypted_data))
        }
        p12::SafeBagKind::OtherBagKind(other) => other_bag(&other.bag_id.to_string(), Zeroizing::new(other.bag_value)),
    })
}

fn other_bag(oid: &str, value: Zeroizing<Vec<u8>>) -> BagValue {
    match oid {
        KEY_BAG => BagValue::Key(value),
        SAFE_CONTENTS_BAG => BagValue::Nested(value),
        CRL_BAG => BagValue::PassedOver(PassedOver::Crl),
        SECRET_BAG => BagValue::PassedOver(PassedOver::Secret),
        unknown => BagValue::PassedOver(PassedOver::UnknownBag(unknown.to_owned())),
    }
}

fn oid_of(element: Element<'_>) -> String {
    ObjectIdentifier::from_bytes(element.body).map_or_else(|_| "malformed".to_owned(), |oid| oid.to_string())
}

/// Runs a parser of p12.
fn parse<T>(
    der: &[u8],
    parser: impl for<'a, 'b> FnOnce(BERReader<'a, 'b>) -> ASN1Result<T>,
    what: &'static str,
) -> Result<T, Error> {
    walled(|| yasna::parse_der(der, parser))?.map_err(|_| damaged(what))
}

/// The last wall: if p12 or yasna panics, the file is damaged, and the program goes on.
fn walled<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| damaged("its parser gave up on it"))
}
