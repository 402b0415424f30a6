//! Files of certificates and private keys: PKCS#12 (RFC 7292), PEM (RFC 7468), DER, and Java keystores (JKS).
//!
//! `read` recognises what the bytes are and reads all of these. PKCS#12 may be BER or DER, binary, PEM or base64, with
//! every cipher, MAC and password encoding that is known to be in use. PEM text may hold any mix of certificates, PKCS#7,
//! and PKCS#8, PKCS#1 and SEC 1 keys, encrypted in either of OpenSSL's ways; text between the blocks is ignored, except for
//! a friendlyName. A DER file holds one of these. `docs/pkcs12.md` has the tables.
//!
//! `NssDatabase` reads the databases of Firefox, Thunderbird, Chromium and other programs that use NSS.
//!
//! `Store::export` writes PKCS#12. Reading and writing need the feature `files`.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "files")] {
//! use cardcase::file;
//!
//! # fn ask() -> String { "cardcase".to_owned() }
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
//! let import = match file::read(bytes, "") {
//!     Err(error) if error.is_password() => file::read(bytes, &ask()),
//!     other => other,
//! }?;
//! assert_eq!(import.certificates().count(), 3);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use crate::error::file::Error;

#[cfg(feature = "files")]
mod contents;
#[cfg(feature = "files")]
mod jks;
#[cfg(feature = "files")]
mod limits;
#[cfg(feature = "files")]
mod nss;
#[cfg(feature = "files")]
mod pem;
#[cfg(feature = "files")]
pub(crate) mod pkcs12;
#[cfg(feature = "files")]
mod read;
#[cfg(all(test, feature = "files"))]
mod tests;
#[cfg(feature = "files")]
mod wrapping;

#[cfg(feature = "files")]
pub use limits::MAX_SIZE;
#[cfg(feature = "files")]
pub use nss::NssDatabase;
#[cfg(feature = "files")]
pub use read::{read, read_certificates, read_with};
