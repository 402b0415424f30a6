//! Signatures of certificates: whether the key of one certificate made that of another.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Reader, SliceReader};
use webpki::ALL_VERIFICATION_ALGS;

/// The fields of a signed structure (RFC 5280 section 4.1), each as a certificate encodes it.
struct Signed<'a> {
    message: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Whether the key in this SubjectPublicKeyInfo made the signature of `certificate`, both in DER; `None` if that cannot be
/// checked, because the algorithm or the kind of key is not supported.
pub(super) fn verifies(certificate: &[u8], issuer_spki: &[u8]) -> Option<bool> {
    let signed = signed(certificate)?;
    let (key_algorithm, key) = public_key(issuer_spki)?;
    let mut fitting = ALL_VERIFICATION_ALGS.iter().filter(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signed.algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
    });
    fitting.next().map(|algorithm| algorithm.verify_signature(key, signed.message, signed.signature).is_ok())
}

/// Whether any signature by the key in this SubjectPublicKeyInfo can be checked.
pub(super) fn is_supported(spki: &[u8]) -> bool {
    public_key(spki).is_some_and(|(key_algorithm, _)| {
        ALL_VERIFICATION_ALGS.iter().any(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
    })
}

fn signed(certificate: &[u8]) -> Option<Signed<'_>> {
    let mut fields = SliceReader::new(AnyRef::from_der(certificate).ok()?.value()).ok()?;
    Some(Signed {
        message: fields.tlv_bytes().ok()?,
        algorithm: AnyRef::decode(&mut fields).ok()?.value(),
        signature: BitStringRef::decode(&mut fields).ok()?.as_bytes()?,
    })
}

/// The content of the AlgorithmIdentifier of a SubjectPublicKeyInfo, and the bits of its key.
fn public_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = SliceReader::new(AnyRef::from_der(spki).ok()?.value()).ok()?;
    let (algorithm, key) =
        (AnyRef::decode(&mut fields).ok()?.value(), BitStringRef::decode(&mut fields).ok()?.as_bytes()?);
    // The verifiers read points of curves in uncompressed form only (RFC 5480 section 2.2)
    let is_other_form = matches!(key, [2 | 3 | 6 | 7, ..]);
    (!is_other_form).then_some((algorithm, key))
}
