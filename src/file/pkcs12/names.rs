//! Names for object identifiers, for the errors about algorithms that are not supported.

use crate::error::file::Error;

/// The error for an algorithm that is not supported, with its name if known.
pub(in crate::file) fn unsupported(what: &'static str, oid: String) -> Error {
    let name = format!("{} ({oid})", name(&oid).unwrap_or("unknown"));
    Error::Unsupported { what, name, advice: "export the file again with AES-256 and SHA-256" }
}

/// The names of algorithms that are not supported.
fn name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "1.2.840.113549.1.7.2" => "signed data, the public-key integrity mode",
        "1.2.840.113549.1.7.3" => "enveloped data, the public-key privacy mode",
        "1.2.840.113549.1.7.4" => "signed and enveloped data",
        "1.2.840.113549.1.7.5" => "digested data",
        "1.2.840.113549.1.7.6" => "encrypted data",
        "1.3.14.3.2.19" | "2.5.8.3.101" => "MDC-2",
        "1.2.643.2.2.9" => "GOST R 34.11-94",
        "1.2.643.7.1.1.2.2" => "GOST R 34.11-2012, 256 bits",
        "1.2.643.7.1.1.2.3" => "GOST R 34.11-2012, 512 bits",
        "1.2.643.2.2.10" => "HMAC with GOST R 34.11-94",
        "1.2.643.7.1.1.4.1" => "HMAC with GOST R 34.11-2012, 256 bits",
        "1.2.643.7.1.1.4.2" => "HMAC with GOST R 34.11-2012, 512 bits",
        "1.2.643.2.2.21" => "GOST 28147-89",
        "1.2.643.7.1.1.5.1.1" | "1.2.643.7.1.1.5.1.2" => "Magma (GOST R 34.12-2015)",
        "1.2.643.7.1.1.5.2.1" | "1.2.643.7.1.1.5.2.2" => "Kuznyechik (GOST R 34.12-2015)",
        "1.2.840.113549.3.4" => "RC4",
        "1.2.840.113549.3.9" => "RC5-CBC",
        "1.3.14.3.2.6" => "DES-ECB",
        "1.3.14.3.2.8" => "DES-OFB",
        "1.3.14.3.2.9" => "DES-CFB",
        "2.16.840.1.101.3.4.1.1" => "AES-128-ECB",
        "2.16.840.1.101.3.4.1.3" => "AES-128-OFB",
        "2.16.840.1.101.3.4.1.4" => "AES-128-CFB",
        "2.16.840.1.101.3.4.1.7" => "AES-128-CCM",
        "2.16.840.1.101.3.4.1.21" => "AES-192-ECB",
        "2.16.840.1.101.3.4.1.23" => "AES-192-OFB",
        "2.16.840.1.101.3.4.1.24" => "AES-192-CFB",
        "2.16.840.1.101.3.4.1.27" => "AES-192-CCM",
        "2.16.840.1.101.3.4.1.41" => "AES-256-ECB",
        "2.16.840.1.101.3.4.1.43" => "AES-256-OFB",
        "2.16.840.1.101.3.4.1.44" => "AES-256-CFB",
        "2.16.840.1.101.3.4.1.47" => "AES-256-CCM",
        "1.2.410.200046.1.1.34" => "ARIA-128-GCM",
        "1.2.410.200046.1.1.35" => "ARIA-192-GCM",
        "1.2.410.200046.1.1.36" => "ARIA-256-GCM",
        "1.2.840.113549.1.9.16.3.18" => "ChaCha20-Poly1305",
        "1.2.840.113533.7.66.12" => "PBE with MD5 and CAST5",
        "1.2.840.113549.1.5.12" => "PBKDF2",
        "1.2.840.113549.1.5.13" => "PBES2",
        "1.2.840.113549.1.5.14" => "PBMAC1",
        "1.3.6.1.4.1.11591.4.11" => "scrypt",
        _ => return None,
    })
}
