//! Accepting what the store says as the owner's.

use super::handle::Store;
use super::integrity::accept;
use super::settings::read_settings;
use crate::answer::settings::Settings;
use crate::error::Error;

impl Store {
    /// Accepts as the owner's, exactly as they are now: the settings, the rules, the trusted authorities, and the decisions that
    /// [`Self::decisions`] returns. Let the owner look at them first. A selection that ended with [`Error::NotAuthentic`]
    /// works again afterwards.
    ///
    /// Returns the settings, and the numbers of rules, of trusted authorities and of decisions for identities. Show them to the
    /// owner: somebody may have changed the store between the look and this call.
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::SealedKey`] when the row of an identity with a decision is not as cardcase wrote it; and
    /// the errors of [writing](Self#errors).
    pub fn accept_terms(&self) -> Result<(Settings, u32, u32, usize), Error> {
        let session = self.session().token()?;
        self.transact_with_vault(|db, vault| {
            let count = |sql: &str| db.query_row(sql, [], |row| row.get(0));
            let decisions = accept(db, vault, session.as_deref())?;
            let rules = count("SELECT count(*) FROM rules")?;
            let trusted = count("SELECT count(*) FROM authorities WHERE trusted")?;
            Ok((read_settings(db)?, rules, trusted, decisions))
        })
    }
}
