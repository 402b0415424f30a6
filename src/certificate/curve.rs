//! Elliptic curves: their names, and the parameters by which a curve without a name is recognised.

use der::Tag;
use der::asn1::ObjectIdentifier;
use rustls::SignatureScheme;
use sha2::{Digest, Sha256};

use crate::certificate::element::elements;

/// A named curve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Curve {
    /// Its object identifier.
    pub(crate) oid: ObjectIdentifier,
    /// As [`KeyKind`](crate::certificate::KeyKind) shows it.
    pub(crate) name: &'static str,
    /// Bytes of a coordinate, and of a private key.
    pub(crate) size: usize,
    /// The scheme of its signatures in rustls, if it has one.
    pub(crate) scheme: Option<SignatureScheme>,
    /// SHA-256 of its parameters, as [`digest`] computes it.
    parameters: &'static str,
}

/// secp256r1.
pub(crate) static P256: Curve = Curve {
    oid: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    name: "ec-p256",
    size: 32,
    scheme: Some(SignatureScheme::ECDSA_NISTP256_SHA256),
    parameters: "dbb6cddd9b7849cd2f85d28efecf19afdde3ac09be925e47989d22338b5819da",
};

/// secp384r1.
pub(crate) static P384: Curve = Curve {
    oid: ObjectIdentifier::new_unwrap("1.3.132.0.34"),
    name: "ec-p384",
    size: 48,
    scheme: Some(SignatureScheme::ECDSA_NISTP384_SHA384),
    parameters: "181d9668306db62edf260ba45c78474dc6fbcc27fdedece3ac21a646b56ca50d",
};

/// secp521r1.
pub(crate) static P521: Curve = Curve {
    oid: ObjectIdentifier::new_unwrap("1.3.132.0.35"),
    name: "ec-p521",
    size: 66,
    scheme: Some(SignatureScheme::ECDSA_NISTP521_SHA512),
    parameters: "507b82fb8dd9e1cb3efdc0640edd99c7a5dae73aea0305f642dd9aa5d959ba15",
};

/// Curves that only OpenSSL may support.
static OTHERS: [Curve; 8] = [
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.1"),
        name: "ec-p192",
        size: 24,
        scheme: None,
        parameters: "a0f2abf78762950042537ed2b8aa88876f56746e3894da0035bd4898c9802bca",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.132.0.33"),
        name: "ec-p224",
        size: 28,
        scheme: None,
        parameters: "42831b6a223c8e405801460583cf9650166800871a48f5413c01980abb27926c",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.132.0.10"),
        name: "ec-secp256k1",
        size: 32,
        scheme: None,
        parameters: "a70b4a4e25c1e52f091ce25f3ed1b1152d724caed1b715cdf06428dfce8b39ea",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.5"),
        name: "ec-brainpoolp224r1",
        size: 28,
        scheme: None,
        parameters: "a82fbca645efbcc386fc2fef8ae8ea1e72c0392db60bfa9c73f0ef0dc4fc9141",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.7"),
        name: "ec-brainpoolp256r1",
        size: 32,
        scheme: None,
        parameters: "45c12a8c6c1d719ca59fa6af331951af3f6375e847356a8915da400195919798",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.9"),
        name: "ec-brainpoolp320r1",
        size: 40,
        scheme: None,
        parameters: "388a23219440eed0bad087718fe92f5dcdae16582cb37417f40543d82a3b23fd",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.11"),
        name: "ec-brainpoolp384r1",
        size: 48,
        scheme: None,
        parameters: "ec3527f263390886357dc46b78efd3b7a53d7d94dce5c4e1b15ccd99160a77a9",
    },
    Curve {
        oid: ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.13"),
        name: "ec-brainpoolp512r1",
        size: 64,
        scheme: None,
        parameters: "950ae26c688c518c7d91a7bdf2bbe19771cd2aacafa5a42b99e4ac1a730c3965",
    },
];

impl Curve {
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [&P256, &P384, &P521].into_iter().chain(&OTHERS)
    }

    /// The curve with this object identifier.
    pub(crate) fn from_oid(oid: ObjectIdentifier) -> Option<&'static Self> {
        Self::all().find(|curve| curve.oid == oid)
    }

    /// The curve with these parameters: the contents of ECParameters (RFC 3279 section 2.3.5). All of them have to be equal, the
    /// base point too: with another one, a public key has other private keys.
    pub(crate) fn from_parameters(contents: &[u8]) -> Option<&'static Self> {
        let digest = data_encoding::HEXLOWER.encode(&digest(contents)?);
        Self::all().find(|curve| curve.parameters == digest)
    }
}

/// SHA-256 of prime, a, b, base point and order, each after its length. Leading zero bytes do not count, nor how the base point is
/// written; the seed and the cofactor are left out.
fn digest(contents: &[u8]) -> Option<[u8; 32]> {
    let mut fields = elements(contents);
    let _version = fields.next().filter(|version| version.tag == Tag::Integer)?;
    let (_, prime) = fields.next()?.sequence()?.next_two()?;
    let (a, b) = fields.next()?.sequence()?.next_two()?;
    let base = compressed(fields.next()?.body)?;
    let order = fields.next()?;
    let mut hash = Sha256::new();
    for number in [prime.body, a.body, b.body, &base, order.body] {
        let number = without_zeros(number);
        hash.update(u16::try_from(number.len()).ok()?.to_be_bytes());
        hash.update(number);
    }
    Some(hash.finalize().into())
}

/// A point in compressed form (SEC 1 section 2.3.3): every other form converts to it without arithmetic. `None` if it is not a
/// point.
pub(crate) fn compressed(point: &[u8]) -> Option<Vec<u8>> {
    let (form, coordinates) = point.split_first()?;
    match form {
        2 | 3 => Some(point.to_vec()),
        4 | 6 | 7 if coordinates.len() >= 2 && coordinates.len() % 2 == 0 => {
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let odd = y.last()? & 1;
            // The hybrid form says twice whether y is odd
            (*form == 4 || form & 1 == odd).then(|| [&[2 | odd], x].concat())
        }
        _ => None,
    }
}

/// A number without leading zero bytes.
pub(crate) fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
