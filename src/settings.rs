//! Settings: how a store answers when nobody says otherwise.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::settings::Mode;
//!
//! store.change_settings(|settings| settings.mode = Mode::Chrome)?;
//! assert_eq!(store.settings()?.mode, Mode::Chrome);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, params};

use crate::error::Error;
use crate::store::{Store, change_terms, restrict_terms};

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
    fn only_restricts(&self, before: &Self) -> bool {
        self.mode == before.mode
            && self.select_automatically <= before.select_automatically
            && self.use_single_candidate <= before.use_single_candidate
            && self.prompt_on_multiple >= before.prompt_on_multiple
    }
}

impl Store {
    /// What the store is set to.
    ///
    /// # Errors
    /// Those of [reading](crate::store#errors).
    pub fn settings(&self) -> Result<Settings, Error> {
        self.with(read_settings)
    }

    /// Changes settings, as they are by now in the file. What only makes a person be asked more often can be set whether or
    /// not the terms are authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], and those of [writing](crate::store#errors).
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<(), Error> {
        self.transact_open(|db, vault| {
            let before = read_settings(db)?;
            let mut settings = before;
            change(&mut settings);
            let write = |db: &Connection| write_settings(db, &settings);
            match settings.only_restricts(&before) {
                true => restrict_terms(db, vault, write),
                false => change_terms(db, vault, write),
            }
        })
    }
}

pub(crate) fn write_settings(db: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE settings SET mode = ?1, select_automatically = ?2, use_single_candidate = ?3, prompt_on_multiple = ?4",
        params![
            settings.mode.to_string(),
            settings.select_automatically,
            settings.use_single_candidate,
            settings.prompt_on_multiple,
        ],
    )
    .map(drop)
}

pub(crate) fn read_settings(db: &Connection) -> rusqlite::Result<Settings> {
    let mut query = db.prepare_cached(
        "SELECT mode = 'chrome', select_automatically, use_single_candidate, prompt_on_multiple FROM settings",
    )?;
    query.query_row([], |row| {
        Ok(Settings {
            mode: if row.get(0)? { Mode::Chrome } else { Mode::Firefox },
            select_automatically: row.get(1)?,
            use_single_candidate: row.get(2)?,
            prompt_on_multiple: row.get(3)?,
        })
    })
}
