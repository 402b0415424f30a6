//! The history: where an identity or none was sent, why, and how the server reacted.
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

use crate::answer::decision::{Outcome, Scope};
use crate::certificate::Fingerprint;
use crate::clock::Timestamp;

/// The name of a version of TLS, as OpenSSL writes it: `TLSv1.3`.
pub fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    }
}

/// One entry of the history: an answer to a certificate request, or a signature for another program, whose destination is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Use {
    /// When it was sent.
    pub at: Timestamp,
    /// The host and the port it was sent to; `None` for another program.
    pub destination: Option<(String, u16)>,
    /// The other program, as [`Wanted::program`](crate::manage::agent::Wanted::program) has it.
    pub program: Option<String>,
    /// The identity, or `None` for no certificate.
    pub identity: Option<Fingerprint>,
    /// Why, as [`crate::connect::Source`] is displayed; for another program, what it had signed: [`Use::MESSAGE`] or [`Use::DIGEST`].
    pub source: String,
    /// How the server reacted.
    pub outcome: Outcome,
    /// The TLS alert of a refusal, by its name in RFC 8446.
    pub alert: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: Option<String>,
}

impl Use {
    /// Where the identity was used, for a person: `www.example.com:443`, or the program.
    pub fn place(&self) -> String {
        match (&self.destination, &self.program) {
            (Some((host, port)), _) => Scope { host: host.clone(), port: Some(*port) }.to_string(),
            (None, Some(program)) => format!("unknown, by {program}"),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// The source of a use by another program that sent a whole message.
    pub const MESSAGE: &str = "program_message";
    /// The source of a use by another program that sent a digest.
    pub const DIGEST: &str = "program_digest";
}
