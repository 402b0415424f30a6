//! Private keys in the one encoding that every TLS library reads.
//!
//! Programs write private keys in many ways: without parameters, with numbers that are padded, swapped or left out, and in two
//! versions of the outer structure. Each library reads only some of these forms. So a key is written anew once, at import: as
//! PrivateKeyInfo of version 0 (RFC 5208), without attributes.

mod rsa;

use der::asn1::ObjectIdentifier;
use der::{Encode, Tag, TagNumber};
use zeroize::Zeroizing;

use crate::certificate::curve::{Curve, P256, P384, P521, compressed, without_zeros};
use crate::certificate::element::{Element, elements, encode};
use crate::certificate::public_key::{EC, ED448, ED25519, RSA};
use crate::certificate::rsa_pss;
use crate::crypto;

type Secret = Zeroizing<Vec<u8>>;

/// DER NULL.
const NULL: [u8; 2] = [5, 0];

/// Bytes of the seed of an Ed25519 key.
const SEED: usize = 32;

/// The algorithm's object identifier and parameters, and the private key, of a PrivateKeyInfo.
fn parts(der: &[u8]) -> Option<(ObjectIdentifier, Option<Element<'_>>, &[u8])> {
    let mut fields = elements(der).next()?.sequence()?;
    let _version = fields.next().filter(|version| version.tag == Tag::Integer)?;
    let mut algorithm = fields.next()?.sequence()?;
    let private = fields.next().filter(|key| key.tag == Tag::OctetString)?.body;
    Some((algorithm.next()?.oid()?, algorithm.next(), private))
}

/// The most work that [`canonical`] can take, as the number of rounds of a key derivation that take as long.
pub(super) fn work(der: &[u8]) -> u64 {
    match parts(der) {
        Some((oid, _, private)) if RSA.contains(&oid) || oid == rsa_pss::OID => rsa::work(private),
        _ => 0,
    }
}

/// The canonical form of a PrivateKeyInfo; `None` if it cannot be read.
pub(super) fn canonical(der: &[u8]) -> Option<Secret> {
    let (oid, parameters, private) = parts(der)?;
    match oid {
        oid if RSA.contains(&oid) => {
            private_key_info(RSA[0], &NULL, &rsa::canonical(private).unwrap_or_else(|| copied(private)))
        }
        EC => ec(parameters, private),
        ED25519 => {
            let key = encode(Tag::OctetString, &seed(private)?)?;
            private_key_info(ED25519, &[], &key)
        }
        // No parameters (RFC 8410 section 3)
        ED448 => private_key_info(ED448, &[], private),
        oid => {
            let parameters = parameters.map(written).unwrap_or_default()?;
            let key = if oid == rsa_pss::OID { rsa::canonical(private) } else { None };
            private_key_info(oid, &parameters, &key.unwrap_or_else(|| copied(private)))
        }
    }
}

/// The canonical form of an ECPrivateKey (RFC 5915): the curve is outside of it, and the public key is computed if this
/// program has arithmetic on the curve.
fn ec(parameters: Option<Element<'_>>, private: &[u8]) -> Option<Secret> {
    let mut fields = Element::only(private)?.sequence()?;
    let (_version, secret) = fields.next_two()?;
    let secret = without_zeros((secret.tag == Tag::OctetString).then_some(secret.body)?);
    // The curve and the public key may be missing
    let optional: Vec<Element<'_>> = fields.collect();
    let field = |number| optional.iter().find(|field| is_context(field.tag, number));
    let inner = field(0).and_then(|field| elements(field.body).next());
    let public = field(1).and_then(|field| elements(field.body).next());
    let public = public.and_then(|bits| bits.body.strip_prefix(&[0]));
    // Some programs write NULL outside, and the curve only inside
    let outer = parameters.filter(|parameters| parameters.tag != Tag::Null);
    let Some(curve) = outer.or(inner).map(known_curve).unwrap_or_else(|| Some(guessed_curve(secret, public))) else {
        // An unknown curve: the key stays as it is, with the parameters outside
        return private_key_info(EC, &written(outer.or(inner)?)?, private);
    };
    let mut padded = Zeroizing::new(vec![0; curve.size.checked_sub(secret.len())?]);
    padded.extend_from_slice(secret);
    // Other libraries compute the public key of other curves themselves
    let computed = curve.scheme.and_then(|scheme| crypto::public_point(scheme, &padded));
    let public = computed.or_else(|| public.map(<[u8]>::to_vec));
    let bits = public.map(|point| encode(Tag::BitString, &[&[0], point.as_slice()].concat())).unwrap_or_default();
    let bits = bits.and_then(|bits| encode(CONTEXT_1, &bits)).unwrap_or_default();
    let body = Zeroizing::new([&[2, 1, 1], encode(Tag::OctetString, &padded)?.as_slice(), &bits].concat());
    private_key_info(EC, &curve.oid.to_der().ok()?, &encode(Tag::Sequence, &body)?)
}

const CONTEXT_1: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(1) };

fn is_context(tag: Tag, wanted: u32) -> bool {
    matches!(tag, Tag::ContextSpecific { number, .. } if number == TagNumber(wanted))
}

/// A curve by its name or its parameters.
fn known_curve(parameters: Element<'_>) -> Option<&'static Curve> {
    match parameters.tag {
        Tag::ObjectIdentifier => Curve::from_oid(parameters.oid()?),
        Tag::Sequence => Curve::from_parameters(parameters.body),
        _ => None,
    }
}

/// The curve of a key without parameters, by the size of its public key, or else of its private key. It is a NIST curve,
/// because OpenSSL and Java omit no other. A wrong guess shows when the key is compared with its certificate.
fn guessed_curve(secret: &[u8], public: Option<&[u8]>) -> &'static Curve {
    let size = match public.and_then(compressed) {
        Some(point) => point.len().saturating_sub(1),
        None => secret.len(),
    };
    match size {
        49.. => &P521,
        33..49 => &P384,
        _ => &P256,
    }
}

/// The seed of an Ed25519 key (RFC 8410 section 7): wrapped once, not at all, or twice, and with or without the public key after
/// it.
fn seed(private: &[u8]) -> Option<Secret> {
    match private.len() {
        SEED => Some(copied(private)),
        64 => private.get(..SEED).map(copied),
        _ => Element::only(private).filter(|inner| inner.tag == Tag::OctetString).and_then(|inner| seed(inner.body)),
    }
}

fn private_key_info(oid: ObjectIdentifier, parameters: &[u8], key: &[u8]) -> Option<Secret> {
    let algorithm = encode(Tag::Sequence, &[oid.to_der().ok()?.as_slice(), parameters].concat())?;
    let key = encode(Tag::OctetString, key)?;
    let body = Zeroizing::new([&[2, 1, 0], algorithm.as_slice(), &key].concat());
    encode(Tag::Sequence, &body)
}

fn written(element: Element<'_>) -> Option<Secret> {
    encode(element.tag, element.body)
}

fn copied(bytes: &[u8]) -> Secret {
    Zeroizing::new(bytes.to_vec())
}
