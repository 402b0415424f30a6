//! PKCS#12 (RFC 7292): bytes and a password to plain certificates, keys and names.
