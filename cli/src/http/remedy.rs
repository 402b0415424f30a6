//! What to do next after a failure: commands to copy, composed in one place.

use std::sync::Arc;

use cardcase::connect::{Selection, Source};
use cardcase::manage::Mode;
use cardcase::{Destination, Selector};

/// Composes commands for the mode that the command runs in.
pub(crate) struct Remedies {
    selector: Arc<Selector>,
    /// ` --mode MODE`, if it was given.
    mode_flag: String,
}

impl Remedies {
    pub(crate) fn new(selector: Arc<Selector>, mode_flag: String) -> Self {
        Self { selector, mode_flag }
    }

    /// Shows what the server asks for and which identities fit.
    pub(crate) fn explain(&self, destination: &Destination) -> String {
        format!("cardcase explain {destination}{}", self.mode_flag)
    }

    /// Decides in advance, when nobody can be asked.
    pub(crate) fn decide(&self, destination: &Destination) -> String {
        format!("cardcase remember {} ID{}", self.scope(destination), self.mode_flag)
    }

    /// Finds out whether a connection ended because of the answer that the server got.
    pub(crate) fn check_answer(&self, destination: &Destination, sent: &str) -> String {
        format!(
            "{destination} asks for a client certificate and {sent}; if it hangs up because of that: {}",
            self.explain(destination)
        )
    }

    /// Changes an answer that the server refused; `None` when nothing stored gave it.
    pub(crate) fn change_answer(&self, destination: &Destination, selection: &Selection) -> Option<String> {
        match selection.source {
            Source::Decision | Source::Ask => {
                let (scope, mode) = (self.scope(destination), &self.mode_flag);
                Some(format!("to choose another: cardcase forget {scope}{mode}"))
            }
            Source::Rule => Some("to see the rule that answered: cardcase rules".to_owned()),
            _ => None,
        }
    }

    /// The scope of a decision for this destination, as a command takes it.
    fn scope(&self, destination: &Destination) -> String {
        match self.selector.mode() {
            Ok(Mode::Chrome) => destination.to_string(),
            _ => destination.host().to_owned(),
        }
    }
}

/// Trusts the authority of a server that cannot be verified.
pub(crate) const TRUST_AUTHORITY: &str = "if you know the CA: cardcase trust CA.pem";

/// Lets a server ask in the middle of a connection.
pub(crate) fn ask_mid_connection() -> &'static str {
    match cfg!(feature = "openssl") {
        true => "use OpenSSL: --tls openssl",
        false => "use OpenSSL, with a cardcase built by: cargo install cardcase-cli --features openssl",
    }
}
