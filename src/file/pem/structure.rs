//! What a DER structure is, by its contents and not by its label.

use der::asn1::AnyRef;
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use zeroize::Zeroizing;

use crate::error::file::Error;
use crate::file::pkcs12;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

const CONTEXT_0: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
const CONTEXT_1: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(1) };

/// Something in a file.
pub(super) enum Item {
    Certificate(Vec<u8>),
    /// Those of PKCS#7, one after the other; [`certificates`] takes them apart.
    Certificates(Vec<u8>),
    /// A private key in any form, converted to PKCS#8.
    Key(Zeroizing<Vec<u8>>),
    /// DER of an EncryptedPrivateKeyInfo.
    EncryptedKey(Vec<u8>),
    /// Something else, with its name.
    Other(&'static str),
}

/// Reads the first element, and says how many bytes of `input` it took.
///
/// DER is not changed, because a changed certificate would be invalid. BER, which PKCS#7 often is, is converted to DER first.
pub(super) fn item(input: &[u8]) -> Result<(Item, usize), Error> {
    if let Some(first) = Parts(input).next()
        && let Some(item) = recognised(first)
    {
        return Ok((item, first.whole.len()));
    }
    let (der, used) = pkcs12::to_der(input)?;
    let item = Parts(&der).next().and_then(recognised);
    item.map(|item| (item, used)).ok_or(Error::Damaged { what: "it is neither a certificate nor a key" })
}

fn recognised(element: Part<'_>) -> Option<Item> {
    let mut parts = element.sequence()?;
    let (first, second) = (parts.next()?, parts.next()?);
    match (first.tag, second.tag) {
        (Tag::ObjectIdentifier, CONTEXT_0) => pkcs7(first, second),
        (Tag::Integer, _) => key(element).map(Item::Key),
        (Tag::Sequence, Tag::OctetString) => is_algorithm(first).then(|| Item::EncryptedKey(element.whole.to_vec())),
        (Tag::Sequence, Tag::BitString) => is_algorithm(first).then_some(Item::Other("a public key")),
        (Tag::Sequence, Tag::Sequence) => signed(element, first, parts),
        _ => None,
    }
}

/// A signed structure: certificate, request or revocation list.
fn signed(element: Part<'_>, contents: Part<'_>, mut rest: Parts<'_>) -> Option<Item> {
    rest.next().filter(|signature| signature.tag == Tag::BitString)?;
    let tags: Vec<Tag> = contents.sequence()?.take(4).map(|part| part.tag).collect();
    Some(match tags.as_slice() {
        // Version, name, public key, attributes (RFC 2986 section 4.1)
        [Tag::Integer, Tag::Sequence, Tag::Sequence, CONTEXT_0] => Item::Other("a certificate request"),
        [CONTEXT_0, ..] | [Tag::Integer, Tag::Sequence, Tag::Sequence, Tag::Sequence] => {
            Item::Certificate(element.whole.to_vec())
        }
        _ => Item::Other("a revocation list"),
    })
}

/// The certificates of SignedData (RFC 5652 section 5.1).
fn pkcs7(content_type: Part<'_>, content: Part<'_>) -> Option<Item> {
    if content_type.oid()? != SIGNED_DATA {
        return Some(Item::Other("PKCS#7 without certificates"));
    }
    let mut fields = Parts(content.body).next()?.sequence()?;
    let set = fields.find(|field| field.tag == CONTEXT_0).map_or(&[][..], |set| set.body);
    Some(match certificates(set).next() {
        Some(_) => Item::Certificates(set.to_vec()),
        None => Item::Other("PKCS#7 without certificates"),
    })
}

/// The DER of each certificate in `set`; the other elements are attribute certificates and similar.
pub(super) fn certificates(set: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    Parts(set).filter(|part| part.tag == Tag::Sequence).map(|part| part.whole.to_vec())
}

/// DER of a private key in any of its three forms, as PKCS#8 (RFC 5958).
pub(super) fn private_key(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    key(Parts(der).next()?)
}

fn key(element: Part<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let mut fields = element.sequence()?;
    let _version = fields.next().filter(|version| version.tag == Tag::Integer)?;
    let second = fields.next()?;
    match second.tag {
        Tag::Sequence if is_algorithm(second) => {
            fields.next().filter(|key| key.tag == Tag::OctetString)?;
            Some(Zeroizing::new(element.whole.to_vec()))
        }
        // RSAPrivateKey has nine numbers or more (RFC 8017 appendix A.1.2), DSA's has six
        Tag::Integer if fields.filter(|field| field.tag == Tag::Integer).count() >= 7 => {
            pkcs8(RSA_ENCRYPTION, &[5, 0], element.whole)
        }
        Tag::OctetString => ec_key(second, fields),
        _ => None,
    }
}

/// ECPrivateKey (RFC 5915 section 3). In PKCS#8, the curve is outside of it; some programs omit it.
fn ec_key(secret: Part<'_>, rest: Parts<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let field = |tag| {
        let mut rest = rest;
        rest.find(|field| field.tag == tag)
    };
    let curve = field(CONTEXT_0).map_or(&[][..], |field| field.body);
    let public = field(CONTEXT_1).map_or(&[][..], |field| field.whole);
    let body = Zeroizing::new([&[2, 1, 1], secret.whole, public].concat());
    pkcs8(EC_PUBLIC_KEY, curve, &encode(Tag::Sequence, &body)?)
}

fn pkcs8(algorithm: ObjectIdentifier, parameters: &[u8], key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let algorithm = encode(Tag::Sequence, &[&algorithm.to_der().ok()?, parameters].concat())?;
    let key = encode(Tag::OctetString, key)?;
    let body = Zeroizing::new([&[2, 1, 0], algorithm.as_slice(), &key].concat());
    encode(Tag::Sequence, &body)
}

fn encode(tag: Tag, body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    AnyRef::new(tag, body).ok()?.to_der().ok().map(Zeroizing::new)
}

/// AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
fn is_algorithm(part: Part<'_>) -> bool {
    part.sequence().and_then(|mut fields| fields.next()).is_some_and(|oid| oid.tag == Tag::ObjectIdentifier)
}

/// One element.
#[derive(Clone, Copy)]
struct Part<'a> {
    tag: Tag,
    body: &'a [u8],
    /// Header and body.
    whole: &'a [u8],
}

impl<'a> Part<'a> {
    fn sequence(self) -> Option<Parts<'a>> {
        (self.tag == Tag::Sequence).then_some(Parts(self.body))
    }

    fn oid(self) -> Option<ObjectIdentifier> {
        ObjectIdentifier::from_bytes(self.body).ok()
    }
}

/// A sequence of elements; ends early at an invalid one.
#[derive(Clone, Copy)]
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let mut reader = SliceReader::new(self.0).ok()?;
        let element = AnyRef::decode(&mut reader).ok()?;
        let (whole, rest) = self.0.split_at_checked(usize::try_from(reader.position()).ok()?)?;
        self.0 = rest;
        Some(Part { tag: der::Tagged::tag(&element), body: element.value(), whole })
    }
}
