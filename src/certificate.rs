//! What a certificate is: its name and its key, the identity it forms with its private key, and the authorities above it.

pub(crate) mod authority;
mod canonical;
pub(crate) mod curve;
pub(crate) mod element;
pub(crate) mod enrollment;
mod fingerprint;
pub(crate) mod identity;
pub(crate) mod import;
mod key_kind;
pub(crate) mod name;
#[cfg(feature = "openssl")]
mod openssl_key;
pub(crate) mod outline;
pub(crate) mod permission;
pub(crate) mod private_key;
pub(crate) mod public_key;
pub(crate) mod rsa_pss;
mod signature;
pub(crate) mod tried;
mod x509;

pub use fingerprint::Fingerprint;
pub(crate) use fingerprint::FingerprintPrefix;
pub use key_kind::KeyKind;
pub use x509::Certificate;
