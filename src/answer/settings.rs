//! Settings: how a store answers when nobody says otherwise.
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

/// How decisions are keyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two browsers to be like")]
pub enum Mode {
    /// Per host, for once, for the session or permanently.
    #[default]
    Firefox,
    /// Per host and port, always remembered.
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

/// What a store is set to. All of it is off in a new one: no identity goes anywhere without somebody having said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How decisions are keyed.
    pub mode: Mode,
    /// Firefox's "Select Automatically": the best identity that fits and is valid goes out, and nothing is stored.
    pub select_automatically: bool,
    /// Internet Explorer's "Don't prompt for client certificate selection when only one certificate exists".
    pub use_single_candidate: bool,
    /// Chrome's policy PromptOnMultipleMatchingCertificates: ask when a rule matches several identities, instead of
    /// taking the first.
    pub prompt_on_multiple: bool,
}

impl Settings {
    /// Whether nothing goes out without asking that did not before, and what is decided counts where it did.
    pub(crate) fn only_restricts(&self, before: &Self) -> bool {
        self.mode == before.mode
            && self.select_automatically <= before.select_automatically
            && self.use_single_candidate <= before.use_single_candidate
            && self.prompt_on_multiple >= before.prompt_on_multiple
    }
}
