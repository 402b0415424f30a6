//! What a certificate is: its name and its key, the identity it makes with its private key, and the authorities above it.

pub(crate) mod authority;
pub(crate) mod enrollment;
pub(crate) mod identity;
pub(crate) mod name;
pub(crate) mod rsa_pss;
mod x509;

pub(crate) use x509::FingerprintPrefix;
pub use x509::{Certificate, Fingerprint, KeyKind};
