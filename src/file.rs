//! Files: bytes to certificates and keys, and back.

pub mod pem;
pub mod pkcs12;
