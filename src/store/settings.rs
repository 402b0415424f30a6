//! The row of the settings.

use rusqlite::{Connection, params};

use super::handle::Store;
use super::integrity::{change_terms, restrict_terms};
use super::sql::must_be_there;
use crate::answer::settings::{Mode, Settings};
use crate::error::Error;

impl Store {
    /// The settings.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn settings(&self) -> Result<Settings, Error> {
        self.read(read_settings)
    }

    /// Changes the settings that the file has now. A change after which a person is asked more often, never less, succeeds even
    /// when the settings are not authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], and those of [writing](Self#errors).
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<(), Error> {
        self.transact_with_vault(|db, vault| {
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

pub(super) fn write_settings(db: &Connection, settings: &Settings) -> rusqlite::Result<()> {
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

pub(super) fn read_settings(db: &Connection) -> rusqlite::Result<Settings> {
    let mut query = db.prepare_cached(
        "SELECT mode = 'chrome', select_automatically, use_single_candidate, prompt_on_multiple FROM settings",
    )?;
    let settings = query.query_row([], |row| {
        Ok(Settings {
            mode: if row.get(0)? { Mode::Chrome } else { Mode::Firefox },
            select_automatically: row.get(1)?,
            use_single_candidate: row.get(2)?,
            prompt_on_multiple: row.get(3)?,
        })
    });
    must_be_there("settings", settings)
}
