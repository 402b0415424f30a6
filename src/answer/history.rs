//! History: where an identity, or none, went, why, and what became of it.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::manage::{Lifetime, Mode, Outcome};
//! use cardcase::Destination;
//! use cardcase::ask::CertificateRequest;
//! use cardcase::Selector;
//! use cardcase::manage::Timestamp;
//!
//! let intranet: Destination = "intranet.example.com".parse()?;
//! store.remember(&Mode::Firefox.scope(&intranet), None, Lifetime::Permanent, Timestamp::now())?;
//! let selector = Selector::new(store);
//! let request = CertificateRequest::new(&[], &[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
//! let prepared = selector.select(&intranet, &request)?;
//! if let Some(selection) = prepared.selection() {
//!     selector.record(&intranet, selection, Outcome::Accepted, None, Some("TLSv1.3".to_owned()))?;
//! }
//! let history = selector.store().history(Some("intranet.example.com"))?;
//! assert_eq!((history[0].identity, history[0].source.as_str()), (None, "decision"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rustls::ProtocolVersion;

use crate::answer::decision::Outcome;
use crate::certificate::Fingerprint;
use crate::clock::Timestamp;

/// The name of a version of TLS: `TLSv1.3`, as OpenSSL writes it too.
pub fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    }
}

/// One answer to one certificate request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// Where it went.
    pub host: String,
    /// Where it went.
    pub port: u16,
    /// The identity, or `None` for no certificate.
    pub identity: Option<Fingerprint>,
    /// Why, as [`crate::connect::Source`] is displayed.
    pub source: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The TLS alert of a refusal, in RFC 8446's name.
    pub alert: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: Option<String>,
}
