//! Accepting what the store says as the owner's.

use super::handle::Store;
use super::integrity::accept;
use super::settings::read_settings;
use crate::answer::settings::Settings;
use crate::error::Error;

/// What was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The settings.
    pub settings: Settings,
    /// The number of rules.
    pub rules: u32,
    /// The number of trusted authorities.
    pub trusted: u32,
    /// The number of decisions for identities.
    pub decisions: usize,
}

impl Store {
    /// Accepts as the owner's, exactly as they are now: the settings, the rules, the trusted authorities, and the decisions that
    /// [`Self::decisions`] returns. Let the owner look at them first. A selection that ended with [`Error::NotAuthentic`]
    /// works again afterwards.
    ///
    /// Show the owner what is returned: somebody may have changed the store between the look and this call.
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::SealedKey`] when the row of an identity with a decision is not as cardcase wrote it; and
    /// the errors of [writing](Self#errors).
    pub fn accept_terms(&self) -> Result<Accepted, Error> {
        let session = self.session().token()?;
        self.transact_with_vault(|db, vault| {
            let count = |sql: &str| db.query_row(sql, [], |row| row.get(0));
            Ok(Accepted {
                decisions: accept(db, vault, session.as_deref())?,
                settings: read_settings(db)?,
                rules: count("SELECT count(*) FROM rules")?,
                trusted: count("SELECT count(*) FROM authorities WHERE trusted")?,
            })
        })
    }
}
