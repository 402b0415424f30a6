//! The digests, by the object identifiers under which they appear in PKCS#12 files.

use der::oid::ObjectIdentifier;

/// Evaluates an expression with `$D` standing for the type of a [`Hash`].
macro_rules! with_hash {
    ($hash:expr, $D:ident => $body:expr) => {
        with_hash!(@ $hash, $D, $body,
            Md2 md2::Md2, Md4 md4::Md4, Md5 md5::Md5, Sha1 sha1::Sha1,
            Sha224 sha2::Sha224, Sha256 sha2::Sha256, Sha384 sha2::Sha384, Sha512 sha2::Sha512,
            Sha512_224 sha2::Sha512_224, Sha512_256 sha2::Sha512_256,
            Sha3_224 sha3::Sha3_224, Sha3_256 sha3::Sha3_256, Sha3_384 sha3::Sha3_384, Sha3_512 sha3::Sha3_512,
            Ripemd160 ripemd::Ripemd160, Whirlpool whirlpool::Whirlpool, Sm3 sm3::Sm3,
            Blake2b512 blake2::Blake2b512, Blake2s256 blake2::Blake2s256)
    };
    (@ $hash:expr, $D:ident, $body:expr, $($name:ident $type:ty),*) => {
        match $hash {
            $($crate::file::pkcs12::hash::Hash::$name => {
                type $D = $type;
                $body
            })*
        }
    };
}
pub(super) use with_hash;

/// A digest that a kept crate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file) enum Hash {
    Md2,
    Md4,
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
    Ripemd160,
    Whirlpool,
    Sm3,
    Blake2b512,
    Blake2s256,
}

impl Hash {
    /// By the identifier of the digest itself, as in DigestInfo (RFC 7292 section 4).
    pub(super) fn by_oid(oid: &str) -> Option<Self> {
        Some(match oid {
            "1.2.840.113549.2.2" => Self::Md2,
            "1.2.840.113549.2.4" => Self::Md4,
            "1.2.840.113549.2.5" => Self::Md5,
            "1.3.14.3.2.26" => Self::Sha1,
            "2.16.840.1.101.3.4.2.4" => Self::Sha224,
            "2.16.840.1.101.3.4.2.1" => Self::Sha256,
            "2.16.840.1.101.3.4.2.2" => Self::Sha384,
            "2.16.840.1.101.3.4.2.3" => Self::Sha512,
            "2.16.840.1.101.3.4.2.5" => Self::Sha512_224,
            "2.16.840.1.101.3.4.2.6" => Self::Sha512_256,
            "2.16.840.1.101.3.4.2.7" => Self::Sha3_224,
            "2.16.840.1.101.3.4.2.8" => Self::Sha3_256,
            "2.16.840.1.101.3.4.2.9" => Self::Sha3_384,
            "2.16.840.1.101.3.4.2.10" => Self::Sha3_512,
            "1.3.36.3.2.1" => Self::Ripemd160,
            "1.0.10118.3.0.55" => Self::Whirlpool,
            "1.2.156.10197.1.401" => Self::Sm3,
            "1.3.6.1.4.1.1722.12.2.1.16" => Self::Blake2b512,
            "1.3.6.1.4.1.1722.12.2.2.8" => Self::Blake2s256,
            _ => return None,
        })
    }

    /// By the identifier of the HMAC over it, as PBKDF2 and PBMAC1 name them (RFC 8018 appendix B).
    pub(super) fn by_hmac_oid(oid: &ObjectIdentifier) -> Option<Self> {
        Some(match oid.to_string().as_str() {
            "1.2.840.113549.2.6" => Self::Md5,
            "1.2.840.113549.2.7" => Self::Sha1,
            "1.2.840.113549.2.8" => Self::Sha224,
            "1.2.840.113549.2.9" => Self::Sha256,
            "1.2.840.113549.2.10" => Self::Sha384,
            "1.2.840.113549.2.11" => Self::Sha512,
            "1.2.840.113549.2.12" => Self::Sha512_224,
            "1.2.840.113549.2.13" => Self::Sha512_256,
            "2.16.840.1.101.3.4.2.13" => Self::Sha3_224,
            "2.16.840.1.101.3.4.2.14" => Self::Sha3_256,
            "2.16.840.1.101.3.4.2.15" => Self::Sha3_384,
            "2.16.840.1.101.3.4.2.16" => Self::Sha3_512,
            "1.2.156.10197.1.401.2" => Self::Sm3,
            _ => return None,
        })
    }

    /// Size of the digest, in bytes.
    pub(super) fn size(self) -> usize {
        with_hash!(self, D => <D as digest::Digest>::output_size())
    }
}
