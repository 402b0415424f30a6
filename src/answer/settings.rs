//! Settings: how a store answers unless a caller asks for something else.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::manage::Mode;
//!
//! store.change_settings(|settings| settings.mode = Mode::Chrome)?;
//! assert_eq!(store.settings()?.mode, Mode::Chrome);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Which browser to behave like: how decisions are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two browsers to behave like")]
pub enum Mode {
    /// Per host: once, for the session, or permanently.
    #[default]
    Firefox,
    /// Per host and port: always permanently.
    Chrome,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firefox => "firefox",
            Self::Chrome => "chrome",
        })
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "firefox" => Ok(Self::Firefox),
            "chrome" => Ok(Self::Chrome),
            _ => Err(Error::Mode { text: text.to_owned() }),
        }
    }
}

/// The settings of a store. A new store has all of them off: no identity is sent unless somebody said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How decisions are remembered.
    pub mode: Mode,
    /// Firefox's "Select Automatically": the best identity that fits and is valid is sent, and nothing is remembered.
    pub select_automatically: bool,
    /// Internet Explorer's "Don't prompt for client certificate selection when only one certificate exists".
    pub use_single_candidate: bool,
    /// Chrome's policy PromptOnMultipleMatchingCertificates: if a rule matches several identities, ask instead of sending the
    /// first.
    pub prompt_on_multiple: bool,
}

impl Settings {
    /// Whether a person is asked at least as often as with the settings before, and decisions apply to the same scopes.
    pub(crate) fn only_restricts(&self, before: &Self) -> bool {
        self.mode == before.mode
            && self.select_automatically <= before.select_automatically
            && self.use_single_candidate <= before.use_single_candidate
            && self.prompt_on_multiple >= before.prompt_on_multiple
    }
}
