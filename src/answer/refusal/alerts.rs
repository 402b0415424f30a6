//! What servers mean when they refuse. docs/servers.md shows the same table; a test compares them.

use rustls::AlertDescription;

/// An alert as an answer to a client certificate, or to the lack of one.
pub(super) struct Meaning {
    pub(super) alert: AlertDescription,
    /// What it usually means, in one clause for a person.
    pub(super) text: &'static str,
    /// Whether it is about a certificate wherever it comes. Any other alert refuses only in place of a response.
    pub(super) is_about_certificate: bool,
    /// The TLS libraries whose servers send it, and when they do, in one clause for a person.
    pub(super) servers: &'static [(&'static str, &'static str)],
}

/// The alerts of RFC 8446 section 6.2 that servers are known to refuse with. The others mean [`OTHERWISE`].
pub(super) const MEANINGS: &[Meaning] = &[
    Meaning {
        alert: AlertDescription::BadCertificate,
        text: "the server cannot use the certificate; it may be damaged or not yet valid",
        is_about_certificate: true,
        servers: &[
            (
                "OpenSSL",
                "the certificate is not yet valid, has a weak key or signature, or the server rejects it by rules of its own",
            ),
            ("GnuTLS", "the certificate cannot be read or verified"),
            ("NSS", "the certificate is damaged, or none was sent in TLS 1.2"),
            ("JSSE", "the certificate is not yet valid, its signature is wrong, or none was sent"),
            ("Go", "anything: unknown CA, expired, wrong use, or no certificate was sent"),
        ],
    },
    Meaning {
        alert: AlertDescription::UnsupportedCertificate,
        text: "the server does not accept certificates of this kind, or not for this use",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "the certificate is not for client authentication: key usage or extended key usage"),
            ("GnuTLS", "the key or the key usage does not allow the signature"),
            ("NSS", "the certificate cannot be processed"),
            ("Schannel", "the key or the use of the certificate does not fit"),
            ("JSSE", "an algorithm is forbidden: jdk.certpath.disabledAlgorithms"),
            ("Go", "this kind of key is not supported"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateRevoked,
        text: "the server says that the certificate was revoked",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL, NSS", "the certificate is on the revocation list"),
            ("Schannel, JSSE", "the certificate was revoked"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateExpired,
        text: "the server says that the certificate has expired",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "the certificate, a CA above it, or the revocation list has expired"),
            ("NSS, JSSE", "the certificate has expired"),
            ("Schannel, Go since 1.21", "the certificate has expired or is not yet valid"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateUnknown,
        text: "the server does not accept the certificate, and does not say why",
        is_about_certificate: true,
        servers: &[
            ("OpenSSL", "another rule is not met, such as a certificate policy"),
            ("NSS", "the certificate is not for client authentication"),
            ("Schannel", "another rule is not met"),
            ("JSSE", "anything else: unknown CA, wrong use, or a path that cannot be built"),
        ],
    },
    Meaning {
        alert: AlertDescription::UnknownCA,
        text: "the server does not know the CA that issued the certificate, or an intermediate is missing",
        is_about_certificate: true,
        servers: &[
            (
                "OpenSSL",
                "the CA is unknown, an intermediate is missing, the certificate is self-signed, or a CA above it may not be one",
            ),
            ("NSS", "the CA is unknown, not trusted for clients, or has expired"),
            ("Schannel", "the root is not trusted"),
            ("Go since 1.21", "the CA is unknown"),
        ],
    },
    Meaning {
        alert: AlertDescription::AccessDenied,
        text: "the server knows the certificate and denies access",
        is_about_certificate: true,
        servers: &[
            ("GnuTLS", "gnutls-serv cannot verify the certificate, whatever the reason"),
            ("NSS", "the certificate is marked as not trusted"),
            ("Schannel", "the certificate is mapped to no account"),
        ],
    },
    Meaning {
        alert: AlertDescription::CertificateRequired,
        text: "the server wants a certificate",
        is_about_certificate: true,
        servers: &[("OpenSSL, GnuTLS, NSS, JSSE since JDK 19, Go since 1.21", "no certificate was sent, in TLS 1.3")],
    },
    Meaning {
        alert: AlertDescription::NoCertificate,
        text: "the server wants a certificate",
        is_about_certificate: true,
        servers: &[],
    },
    Meaning {
        alert: AlertDescription::HandshakeFailure,
        text: "this usually means that the server wants a certificate",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "no certificate was sent, in TLS 1.2, or the key makes no signature that the server accepts"),
            ("NSS, JSSE", "the key makes no signature that the server accepts"),
            ("Schannel", "no certificate was sent, or the server cannot use it"),
            ("Go since 1.21", "no certificate was sent, in TLS 1.2"),
        ],
    },
    Meaning {
        alert: AlertDescription::DecryptError,
        text: "a signature does not verify; the CA may have a new key that the server does not know",
        is_about_certificate: false,
        servers: &[
            (
                "OpenSSL",
                "the certificate was not signed by the CA that the server knows by that name, or the server cannot verify the signature of your key",
            ),
            ("GnuTLS, NSS, Schannel, JSSE, Go", "the server cannot verify the signature of your key"),
        ],
    },
    Meaning {
        alert: AlertDescription::DecodeError,
        text: "the server cannot read the certificate, or wants one",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "the certificate, or a CA certificate that was sent with it, cannot be parsed"),
            ("GnuTLS", "no certificate was sent, in TLS 1.2"),
            ("Go since 1.23", "the certificate cannot be parsed"),
        ],
    },
    Meaning {
        alert: AlertDescription::IllegalParameter,
        text: "the server cannot use this kind of key in this version of TLS",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "the curve of the key is not among the key exchange groups that were offered, in TLS 1.2"),
            ("GnuTLS, JSSE, Go", "the key makes a signature that the server did not ask for"),
        ],
    },
    Meaning {
        alert: AlertDescription::InternalError,
        text: "the server failed while it checked the answer",
        is_about_certificate: false,
        servers: &[
            ("OpenSSL", "a check of the application failed, or the revocation list or the CA store cannot be read"),
            ("GnuTLS, JSSE", "a check of the application failed"),
            (
                "Schannel",
                "the server cannot check the certificate, often because no account or revocation server answers",
            ),
            ("Go", "the server cannot verify signatures of this kind of key"),
        ],
    },
    Meaning {
        alert: AlertDescription::InsufficientSecurity,
        text: "the server finds the key or its signature too weak",
        is_about_certificate: false,
        servers: &[
            ("GnuTLS", "the key or its signature is below the server's security level"),
            ("JSSE", "an algorithm is forbidden: jdk.tls.disabledAlgorithms"),
        ],
    },
];

/// What any other alert means in place of a response.
pub(super) const OTHERWISE: &str = "the server does not accept the answer, and does not say why";

/// What it means when the connection ends without an alert.
pub(super) const HUNG_UP: (&str, &[(&str, &str)]) = (
    "it closed the connection without saying why",
    &[
        ("Schannel", "IIS and http.sys close or reset the connection for any certificate that they do not accept"),
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
