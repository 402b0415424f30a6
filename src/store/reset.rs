//! Resetting a forgotten primary password: what the store says then becomes the owner's, who has to see it first.

use rusqlite::{Connection, params};

use super::authorities::read_authorities;
use super::damage::{DECISIONS, IDENTITIES, numbers};
use super::decisions::shown_decisions;
use super::enrollments;
use super::handle::Store;
use super::identities::every_identity;
use super::integrity::{authenticate_decisions, authenticate_terms};
use super::keys;
use super::rules::read_rules;
use super::settings::read_settings;
use super::sql::as_rusqlite;
use super::vault::{read_vault, write_vault};
use crate::answer::decision::Decision;
use crate::answer::rules::Rule;
use crate::answer::settings::Settings;
use crate::certificate::authority::Authority;
use crate::certificate::enrollment::Enrollment;
use crate::certificate::identity::Identity;
use crate::certificate::permission::Permit;
use crate::certificate::private_key::PrivateKey;
use crate::certificate::tried::Tried;
use crate::error::Error;
use crate::vault::{KeyRow, Vault};

/// What a store with a primary password says at one moment, which nobody can verify without the password:
/// [`Store::unverified`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Unverified {
    /// Every identity.
    pub identities: Vec<Identity>,
    /// The keys that wait for their certificates.
    pub enrollments: Vec<Enrollment>,
    /// The permanent decisions, and those of this session. When and how they were last used is left out.
    pub decisions: Vec<Decision>,
    /// The rules, by number.
    pub rules: Vec<Rule>,
    /// The certificates that verify servers.
    pub trusted: Vec<Authority>,
    /// The settings.
    pub settings: Settings,
    /// Identifies the vault under its password; `None` if it has none.
    vault: Option<[u8; 32]>,
}

impl Unverified {
    fn read(db: &Connection, session: Option<&str>) -> rusqlite::Result<Self> {
        let mut damaged = Vec::new();
        let authorities = read_authorities(db, &mut damaged)?;
        if let Some(damage) = damaged.into_iter().next() {
            return Err(as_rusqlite(Error::RowDamaged(damage)));
        }
        Ok(Self {
            identities: every_identity(db)?,
            enrollments: enrollments::every_enrollment(db)?,
            decisions: shown_decisions(db, session)?,
            rules: read_rules(db)?.all().iter().map(|rule| (**rule).clone()).collect(),
            trusted: authorities.into_iter().filter(|authority| authority.trusted).collect(),
            settings: read_settings(db)?,
            vault: read_vault(db)?.map(Vault::from_file).filter(Vault::has_password).map(|vault| vault.digest()),
        })
    }

    fn is_same_as(&self, other: &Self) -> bool {
        let requests = |all: &Self| all.enrollments.iter().map(|new| new.request().to_vec()).collect::<Vec<_>>();
        let rules = |all: &Self| all.rules.iter().map(|rule| (rule.number(), rule.to_json())).collect::<Vec<_>>();
        self.identities == other.identities
            && requests(self) == requests(other)
            && self.decisions == other.decisions
            && rules(self) == rules(other)
            && self.trusted == other.trusted
            && self.settings == other.settings
    }
}

impl Store {
    /// What the owner has to see before [`Self::reset_primary_password`].
    ///
    /// # Errors
    /// Those of [reading](Self#errors); [`Error::RowDamaged`] when a row cannot be read, and so cannot be shown.
    pub fn unverified(&self) -> Result<Unverified, Error> {
        let session = self.session().token()?;
        self.read(|db| Unverified::read(db, session.as_deref()))
    }

    /// Sets another primary password, or none, when nobody knows the old one. The private keys are lost with the old password: each
    /// identity stays without its key ([`Identity::has_lost_key`](crate::Identity::has_lost_key)) until it is imported again, and so do
    /// the decisions for it. Keys that wait for their certificates are removed, and so are the decisions of other sessions. An agent that
    /// still has the old keys ends.
    ///
    /// Without the old password nobody can tell whether somebody else has changed settings, rules, trusted authorities or decisions. They
    /// are accepted as they are, as by [`Self::accept_terms`], if they are still what [`Self::unverified`] returned and the owner has seen.
    ///
    /// # Errors
    /// Those of [`Self::unverified`] and of [writing](Self#errors); [`Error::PasswordChanged`] when the store has no primary password, or
    /// another than when `shown` was read; [`Error::StoreChanged`] when it says something else than `shown`.
    pub fn reset_primary_password(&self, password: Option<&str>, shown: &Unverified) -> Result<(), Error> {
        let new = Vault::create()?.rewrapped(password)?;
        let session = self.session().token()?;
        self.transact(|db| {
            let now = Unverified::read(db, session.as_deref())?;
            if now.vault != shown.vault || now.vault.is_none() {
                return Err(as_rusqlite(Error::PasswordChanged));
            }
            if !now.is_same_as(shown) {
                return Err(as_rusqlite(Error::StoreChanged));
            }
            write_vault(db, new.kept())?;
            lose_keys(db, &new)?;
            enrollments::remove_all(db)?;
            let others = format!("DELETE FROM {DECISIONS} WHERE session IS NOT NULL AND session IS NOT ?1");
            db.execute(&others, [&session])?;
            authenticate_decisions(db, &new, None)?;
            authenticate_terms(db, &new)
        })?;
        self.set_vault(new);
        // It has keys that the store has no longer
        let _ = self.end_agent();
        self.note_opened();
        Ok(())
    }
}

/// Seals an empty value in place of each private key. Without the old vault, nothing shows that the owner has given the permits.
fn lose_keys(db: &Connection, new: &Vault) -> rusqlite::Result<()> {
    let mut update = db.prepare(
        "UPDATE identities SET private_key = ?1, tried = ?2, permission = 0, confirmation = 0 WHERE id = ?3",
    )?;
    for id in numbers(db, IDENTITIES)? {
        let row = keys::key_of_row(db, id)?.row;
        let row = KeyRow { tried: Tried::NO_KEY, permit: Permit::default(), ..row };
        let sealed = new.seal(&row, &PrivateKey::none()).map_err(as_rusqlite)?;
        update.execute(params![sealed, row.tried.number(), id])?;
    }
    Ok(())
}
