//! The protocols that HTTP clients offer (ALPN, RFC 7301).

use rustls::ClientConfig;

/// The name of HTTP/2 (RFC 9113).
pub(super) const H2: &[u8] = b"h2";

/// `base`, which offers HTTP/2 and HTTP/1.1 if it names no protocols.
pub(super) fn offering_http(mut base: ClientConfig) -> ClientConfig {
    if base.alpn_protocols.is_empty() {
        base.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    }
    base
}
