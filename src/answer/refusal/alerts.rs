//! What servers mean by their alerts when they refuse. docs/servers.md shows the same table; a test compares them.

use rustls::AlertDescription;

/// An alert as an answer to a client certificate, or to the lack of one.
pub(super) struct Meaning {
    pub(super) alert: AlertDescription,
    /// What it usually means, in one clause for a person.
    pub(super) text: &'static str,
    /// Whether it is about a certificate wherever it comes. Any other alert refuses only in place of a response.
    pub(super) is_about_certificate: bool,
    /// Each TLS library whose servers send it, and when they do.
    pub(super) servers: &'static [(&'static str, &'static str)],
}

/// The alerts of RFC 8446 section 6.2 that servers are known to refuse with. The others mean [`OTHERWISE`].
pub(super) const MEANINGS: &[Meaning] = &[
    Meaning {
        alert: AlertDescription::BadCertificate,
        text: "the server cannot use it; it may be damaged or not yet valid",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "it is not yet valid, has a weak key or signature, or the server rejects it by its own rules"),
            ("GnuTLS", "it cannot be read or verified"),
            ("NSS", "it is damaged, or none was sent in TLS 1.2"),
            ("JSSE", "it is not yet valid, its signature is wrong, or none was sent"),
            ("Go", "anything at all: unknown CA, expired, wrong use, or none was sent"),
        ],
    },
    Meaning {
        alert: AlertDescription::UnsupportedCertificate,
        text: "the server does not accept certificates of this kind, or not for this use",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "it is not for client authentication: key usage or extended key usage"),
            ("GnuTLS", "its key or its key usage does not allow the signature"),
            ("NSS", "it cannot be processed"),
            ("SChannel", "its key or its use does not fit"),
            ("JSSE", "its algorithms are forbidden: jdk.certpath.disabledAlgorithms"),
            ("Go", "its kind of key is not supported"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateRevoked,
        text: "the server says that it was revoked",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "it is on the revocation list"),
            ("NSS", "it is on the revocation list"),
            ("SChannel", "it was revoked"),
            ("JSSE", "it was revoked"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateExpired,
        text: "the server says that it has expired",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "it, a CA above it, or the revocation list has expired"),
            ("NSS", "it has expired"),
            ("SChannel", "it has expired, or is not yet valid"),
            ("JSSE", "it has expired"),
            ("Go", "it has expired or is not yet valid, since Go 1.21"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateUnknown,
        text: "the server does not accept it, and does not say why",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "another rule is not met, such as a certificate policy"),
            ("NSS", "it is not for client authentication"),
            ("SChannel", "another rule is not met"),
            ("JSSE", "anything else: unknown CA, wrong use, or a path that cannot be built"),
        ],
    },
    Meaning {
        alert: AlertDescription::UnknownCA,
        text: "the server does not know the CA that issued it, or misses an intermediate",
        is_about_certificate: true,
        servers: &[
            (
                "OpenSSL",
                "the CA is unknown, an intermediate is missing, it is self-signed, or a CA above it may not be one",
            ),
            ("NSS", "the CA is unknown, not trusted for clients, or has expired"),
            ("SChannel", "the root is not trusted"),
            ("Go", "the CA is unknown, since Go 1.21"),
        ],
    },
    Meaning {
        alert: AlertDescription::AccessDenied,
        text: "the server knows it and denies access",
        is_about_certificate: true,
        servers: &[
            ("GnuTLS", "gnutls-serv cannot verify it, whatever the reason"),
            ("NSS", "it is marked as not trusted"),
            ("SChannel", "it is mapped to no account"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateRequired,
        text: "the server wants a certificate",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "none was sent, in TLS 1.3"),
            ("GnuTLS", "none was sent, in TLS 1.3"),
            ("NSS", "none was sent, in TLS 1.3"),
            ("JSSE", "none was sent, in TLS 1.3, since JDK 19"),
            ("Go", "none was sent, in TLS 1.3, since Go 1.21"),
        ],
    },
    Meaning {
        alert: AlertDescription::NoCertificate,
        text: "the server wants a certificate",
        is_about_certificate: true,
        servers: &[],
    },
    Meaning {
        alert: AlertDescription::HandshakeFailure,
        text: "the server usually means that it wants a certificate",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "none was sent, in TLS 1.2, or it makes no signature that the server accepts"),
            ("NSS", "it makes no signature that the server accepts"),
            ("SChannel", "none was sent, or the server cannot use it"),
            ("JSSE", "it makes no signature that the server accepts"),
            ("Go", "none was sent, in TLS 1.2, since Go 1.21"),
        ],
    },
    Meaning {
        alert: AlertDescription::DecryptError,
        text: "a signature does not verify; the CA may have a new key that the server does not know",
        is_about_certificate: false,
        servers: &[
            (
                "OpenSSL",
                "the signature on it is not by the CA that the server knows by that name, or the server cannot verify yours",
            ),
            ("GnuTLS", "the server cannot verify the signature of your key"),
            ("NSS", "the server cannot verify the signature of your key"),
            ("SChannel", "the server cannot verify the signature of your key"),
            ("JSSE", "the server cannot verify the signature of your key"),
            ("Go", "the server cannot verify the signature of your key"),
        ],
    },
    Meaning {
        alert: AlertDescription::DecodeError,
        text: "the server cannot read it, or wants a certificate",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "it, or a CA certificate that was sent with it, cannot be parsed"),
            ("GnuTLS", "none was sent, in TLS 1.2"),
            ("Go", "it cannot be parsed, since Go 1.23"),
        ],
    },
    Meaning {
        alert: AlertDescription::IllegalParameter,
        text: "the server cannot use its kind of key in this version of TLS",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "the curve of its key is not among the key exchange groups that were offered, in TLS 1.2"),
            ("GnuTLS", "it makes a signature that the server did not ask for"),
            ("JSSE", "it makes a signature that the server did not ask for"),
            ("Go", "it makes a signature that the server did not ask for"),
        ],
    },
    Meaning {
        alert: AlertDescription::InternalError,
        text: "the server failed while it checked the answer",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "a check of the application failed, or the revocation list or the CA store cannot be read"),
            ("GnuTLS", "a check of the application failed"),
            ("SChannel", "the server cannot check it, often because no account or revocation server answers"),
            ("JSSE", "a check of the application failed"),
            ("Go", "the server cannot verify signatures of its kind of key"),
        ],
    },
    Meaning {
        alert: AlertDescription::InsufficientSecurity,
        text: "the server finds its key or its signature too weak",
        is_about_certificate: false,
        servers: &[
            ("GnuTLS", "its key or its signature is below the server's security level"),
            ("JSSE", "its algorithms are forbidden: jdk.tls.disabledAlgorithms"),
        ],
    },
];

/// What any other alert means in place of a response.
pub(super) const OTHERWISE: &str = "the server does not accept the answer, and does not say why";

/// What it means when the connection ends without an alert.
pub(super) const HUNG_UP: (&str, &[(&str, &str)]) = (
    "it closed the connection without saying why",
    &[
        ("SChannel", "IIS and http.sys close or reset the connection for any certificate that they do not accept"),
        ("JSSE", "the HttpsServer of the JDK closes the connection for any reason"),
        (
            "OpenSSL",
            "asyncio and some applications close the connection themselves after they looked at the certificate",
        ),
    ],
);

/// A page of HTTP with which a server refuses instead of an alert.
pub(super) struct Page {
    pub(super) status: u16,
    /// Words in its body.
    pub(super) words: &'static str,
}

/// nginx, and what is built on it.
pub(super) const PAGES: &[Page] = &[
    Page { status: 400, words: "No required SSL certificate was sent" },
    Page { status: 400, words: "The SSL certificate error" },
];
