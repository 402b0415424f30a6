//! Backups: everything in the store, in one file that is encrypted under a password of its own. docs/backup.md describes its format.
//!
//! The file holds plain values and not the database, so that a later version, with other tables, reads it.

use std::fmt;
use std::io::{self, Write};

use data_encoding::BASE64;
use rusqlite::{Connection, Row};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::damage::{
    AUTHORITIES, DECISIONS, ENROLLMENTS, IDENTITIES, RULES, numbers, read_certificate, read_row, row_with,
};
use super::enrollments;
use super::handle::Store;
use super::history::COLUMNS;
use super::integrity::{check_permanent_decisions, check_terms};
use super::keys::{ENROLLMENT, key_of_row, parse_enrollment_key};
use super::settings::read_settings;
use super::sql::{as_rusqlite, is_about_a_column};
use crate::answer::decision::Outcome;
use crate::answer::history::Use;
use crate::answer::rules::Rule;
use crate::certificate::enrollment::Enrollment;
use crate::certificate::import::NewIdentity;
use crate::certificate::permission::Permit;
use crate::certificate::private_key::PrivateKey;
use crate::certificate::{Certificate, Fingerprint};
use crate::clock::Timestamp;
use crate::error::{Damage, Error};
use crate::request::Destination;
use crate::vault::{KeyRow, Unlocker, Vault, sealed_file};

/// The longest text in an entry of the history, in bytes, besides the host. cardcase writes far shorter ones.
const MAX_TEXT: usize = 256;

/// The most work for the keys of a backup, as the rounds of a key derivation that take as long: that for the keys of a file.
const MAX_KEY_WORK: u64 = 200_000_000;

/// What is in a backup. Times are seconds of Unix time. Another field needs another version of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    made_at: i64,
    /// Whether the store had a primary password. The password itself is not in the backup.
    primary_password: bool,
    pub(super) settings: SettingsPart,
    pub(super) identities: Vec<IdentityPart>,
    pub(super) authorities: Vec<AuthorityPart>,
    pub(super) enrollments: Vec<EnrollmentPart>,
    pub(super) rules: Vec<RulePart>,
    /// The permanent ones.
    pub(super) decisions: Vec<DecisionPart>,
    /// The oldest first; `None` if it was left out.
    pub(super) history: Option<Vec<UsePart>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsPart {
    pub(super) mode: String,
    pub(super) select_automatically: bool,
    pub(super) use_single_candidate: bool,
    pub(super) prompt_on_multiple: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityPart {
    name: String,
    certificate: Bytes,
    /// PKCS#8; `None` if the key was lost with a primary password.
    private_key: Option<Bytes>,
    requires_tls13: bool,
    /// What other programs may have signed; absent in a backup that is older than that.
    #[serde(default)]
    permission: u8,
    #[serde(default)]
    confirmation: u8,
    pub(super) added_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorityPart {
    certificate: Bytes,
    pub(super) trusted: bool,
    pub(super) added_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrollmentPart {
    /// CertificationRequest (RFC 2986).
    request: Bytes,
    private_key: Bytes,
    made_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulePart {
    /// An entry of AutoSelectCertificateForUrls, as JSON.
    pub(super) rule: String,
    pub(super) added_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionPart {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The SHA-256 of the certificate.
    pub(super) identity: Option<Digest>,
    pub(super) decided_at: i64,
    pub(super) last_used_at: Option<i64>,
    pub(super) last_outcome: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsePart {
    pub(super) at: i64,
    host: Option<String>,
    port: Option<u16>,
    /// Another program, which used an identity for a destination that is not known.
    program: Option<String>,
    identity: Option<Digest>,
    source: String,
    outcome: String,
    alert: Option<String>,
    tls_version: Option<String>,
}

/// Bytes, as base64. They may be a private key, so they are wiped.
pub(super) struct Bytes(Zeroizing<Vec<u8>>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                BASE64.decode(text.as_bytes()).map(Zeroizing::new).map(Bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// A fingerprint, as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(pub(super) Fingerprint);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).map_err(D::Error::custom)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| D::Error::custom("a fingerprint has 64 digits"))?;
        Ok(Self(Fingerprint::from_bytes(bytes)))
    }
}

/// A backup that was opened: its contents are whole, and each private key belongs to its certificate.
///
/// # Example
///
/// ```
/// # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
/// # let (home, store) = alice::store()?;
/// # struct Nobody;
/// # impl cardcase::Unlocker for Nobody {
/// #     fn primary_password(&self, _: u32) -> Result<zeroize::Zeroizing<String>, cardcase::Error> { Err(cardcase::Error::VaultLocked) }
/// # }
/// use cardcase::Store;
/// use cardcase::manage::{Backup, Timestamp};
///
/// let file = store.backup("correct horse", false, Timestamp::now(), &Nobody)?;
///
/// let backup = Backup::open(&file, "correct horse")?;
/// let other = Store::open(home.path().join("other.db"))?;
/// let restored = other.restore(&backup)?;
/// assert_eq!(restored.identities[0].name(), "Alice Example's card");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Backup {
    pub(super) contents: Contents,
    pub(super) identities: Vec<NewIdentity>,
    pub(super) authorities: Vec<Certificate>,
    pub(super) enrollments: Vec<(Enrollment, PrivateKey)>,
}

impl Backup {
    /// The size of the largest backup, in bytes.
    pub const MAX_SIZE: usize = sealed_file::MAX_SIZE;

    /// Opens a backup. Nothing is read before all of it is authenticated.
    ///
    /// Deriving the key takes about half a second.
    ///
    /// # Errors
    /// [`Error::NotABackup`], [`Error::NewerBackup`], [`Error::WrongBackupPassword`] and [`Error::BackupDamaged`].
    pub fn open(file: &[u8], password: &str) -> Result<Self, Error> {
        let json = sealed_file::open(file, password)?;
        let contents: Contents = serde_json::from_slice(&json).map_err(damaged)?;
        if contents.key_work() > MAX_KEY_WORK {
            return Err(damaged("its RSA keys take too much work"));
        }
        Ok(Self {
            identities: contents.identities.iter().map(IdentityPart::proven).collect::<Result<_, _>>()?,
            authorities: contents
                .authorities
                .iter()
                .map(|part| certificate(&part.certificate))
                .collect::<Result<_, _>>()?,
            enrollments: contents.enrollments.iter().map(EnrollmentPart::proven).collect::<Result<_, _>>()?,
            contents,
        })
    }

    /// Checks what needs no password: that a file is a backup of a version that is known, and whole.
    ///
    /// # Errors
    /// Those of [`Self::open`], without [`Error::WrongBackupPassword`].
    pub fn check(file: &[u8]) -> Result<(), Error> {
        sealed_file::check(file)
    }

    /// When it was made.
    pub fn made_at(&self) -> Timestamp {
        Timestamp(self.contents.made_at)
    }

    /// Whether the store it was made from had a primary password. The password is not in the backup.
    pub fn had_primary_password(&self) -> bool {
        self.contents.primary_password
    }

    /// Whether it holds private keys.
    pub fn has_private_keys(&self) -> bool {
        !self.enrollments.is_empty() || self.contents.identities.iter().any(|part| part.private_key.is_some())
    }
}

/// Shows no secret.
impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identities = self.identities.iter().map(|identity| &identity.certificate);
        f.debug_struct("Backup").field("identities", &identities.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Contents {
    /// The work to bring every private key into the one form that every library reads.
    fn key_work(&self) -> u64 {
        let keys = self.identities.iter().filter_map(|part| part.private_key.as_ref());
        let keys = keys.chain(self.enrollments.iter().map(|part| &part.private_key));
        keys.map(|key| PrivateKey::work(&key.0)).fold(0, u64::saturating_add)
    }
}

impl UsePart {
    /// The use; `None` if no cardcase has written it.
    pub(super) fn parsed(&self) -> Option<Use> {
        let texts = [Some(&self.source), self.program.as_ref(), self.alert.as_ref(), self.tls_version.as_ref()];
        let is_short = texts.into_iter().flatten().all(|text| text.len() <= MAX_TEXT);
        let destination = self.host.clone().zip(self.port);
        let is_known = destination.as_ref().is_some_and(|(host, port)| check_host(host, Some(*port)).is_ok());
        let is_program = self.host.is_none() && self.port.is_none();
        (is_short && is_known != is_program && is_program == self.program.is_some()).then_some(())?;
        Some(Use {
            at: Timestamp(self.at),
            destination,
            program: self.program.clone(),
            identity: self.identity.map(|digest| digest.0),
            source: self.source.clone(),
            outcome: parse_outcome(&self.outcome).ok()?,
            alert: self.alert.clone(),
            tls_version: self.tls_version.clone(),
        })
    }
}

impl IdentityPart {
    /// The identity, after its key made a signature that its certificate verifies. If nothing signs with the key, it is an identity that
    /// cannot be used. A key that no library here can load is left out, as if it was lost: nothing shows whose it is.
    fn proven(&self) -> Result<NewIdentity, Error> {
        let certificate = certificate(&self.certificate)?;
        let name = Some(self.name.clone());
        let Some(key) = &self.private_key else {
            return Ok(NewIdentity::without_key(certificate, name, self.requires_tls13));
        };
        let key = PrivateKey::from_foreign(key.0.clone());
        match key.check_fits(&certificate) {
            Ok(()) => {
                let permit = Permit::from_numbers(self.permission, self.confirmation).within(self.requires_tls13);
                let new = NewIdentity::new(certificate, key, name);
                Ok(NewIdentity { requires_tls13: self.requires_tls13, permit, ..new })
            }
            Err(Error::UnusableKey { .. }) => Ok(NewIdentity::without_key(certificate, name, self.requires_tls13)),
            Err(_) => Err(damaged(format_args!("the private key of {:?} is not that of its certificate", self.name))),
        }
    }
}

impl EnrollmentPart {
    fn proven(&self) -> Result<(Enrollment, PrivateKey), Error> {
        let request = Enrollment::from_request(self.request.0.to_vec(), Timestamp(self.made_at)).map_err(damaged)?;
        let key = PrivateKey::from_foreign(self.private_key.0.clone());
        match key.public_key().is_some_and(|public| public == request.canonical_public_key()) {
            true => Ok((request, key)),
            false => Err(damaged(format_args!("the private key for {} is not that of its request", request.subject()))),
        }
    }
}

/// Checks that a host is written as it is remembered, and that a port is one.
///
/// # Errors
/// [`Error::BackupDamaged`].
pub(super) fn check_host(host: &str, port: Option<u16>) -> Result<(), Error> {
    let destination = Destination::new(host, port.unwrap_or(Destination::DEFAULT_PORT)).map_err(damaged)?;
    match destination.host() == host {
        true => Ok(()),
        false => Err(damaged(format_args!("{host:?} is not how a host is remembered"))),
    }
}

/// The outcome that this text stands for.
///
/// # Errors
/// [`Error::BackupDamaged`].
pub(super) fn parse_outcome(text: &str) -> Result<Outcome, Error> {
    let outcome = [Outcome::Accepted, Outcome::Refused, Outcome::Unknown];
    let outcome = outcome.into_iter().find(|outcome| outcome.to_string() == text);
    outcome.ok_or_else(|| damaged(format_args!("{text:?} is no outcome")))
}

fn certificate(der: &Bytes) -> Result<Certificate, Error> {
    Certificate::from_der(der.0.to_vec()).map_err(damaged)
}

/// The error for contents that no cardcase has written.
pub(super) fn damaged(detail: impl fmt::Display) -> Error {
    Error::BackupDamaged { detail: detail.to_string() }
}

impl Store {
    /// Everything in the store, encrypted under a password of its own: identities with their private keys, authorities, enrollments,
    /// rules, permanent decisions, settings, and the history if it is wanted. Decisions for the session are left out. `unlocker` unlocks
    /// the vault first.
    ///
    /// Only what is whole and authentic is written, so that [`Self::restore`] brings back what the owner had.
    ///
    /// # Errors
    /// Those of [`Self::unlock_fully`] and of [reading](Self#errors); [`Error::NotAuthentic`], [`Error::SealedKey`] and
    /// [`Error::RowDamaged`]; [`Error::BackupTooLarge`].
    pub fn backup(
        &self,
        password: &str,
        with_history: bool,
        now: Timestamp,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        self.unlock_fully(unlocker)?;
        if with_history {
            self.flush()?;
        }
        let contents = self.read(|db| {
            let vault = self.usable_vault(db)?;
            read_contents(db, &vault, with_history, now)
        })?;
        sealed_file::seal(&to_json(&contents)?, password)
    }
}

/// JSON in memory that does not grow, because growing would leave copies of private keys behind.
fn to_json(contents: &Contents) -> Result<Zeroizing<Vec<u8>>, Error> {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let failed = |error: serde_json::Error| Error::Sealing { detail: error.to_string() };
    let mut count = Count(0);
    serde_json::to_writer(&mut count, contents).map_err(failed)?;
    let mut json = Zeroizing::new(Vec::with_capacity(count.0));
    serde_json::to_writer(&mut *json, contents).map_err(failed)?;
    Ok(json)
}

fn read_contents(db: &Connection, vault: &Vault, with_history: bool, now: Timestamp) -> rusqlite::Result<Contents> {
    check_terms(db, vault)?;
    check_permanent_decisions(db, vault)?;
    let settings = read_settings(db)?;
    let mut work = 0_u64;
    // As much as `Backup::open` accepts
    let mut add_work = |table, id, key: &Bytes| {
        work = work.saturating_add(PrivateKey::work(&key.0));
        match work > MAX_KEY_WORK {
            true => Err(damaged_row(table, id, "with this RSA key a backup takes too much work".to_owned())),
            false => Ok(()),
        }
    };
    let rows = |table| Ok::<_, rusqlite::Error>(numbers(db, table)?.into_iter());
    Ok(Contents {
        made_at: now.0,
        primary_password: vault.has_password(),
        settings: SettingsPart {
            mode: settings.mode.to_string(),
            select_automatically: settings.select_automatically,
            use_single_candidate: settings.use_single_candidate,
            prompt_on_multiple: settings.prompt_on_multiple,
        },
        identities: rows(IDENTITIES)?
            .map(|id| {
                let part = identity(db, vault, id)?;
                part.private_key.iter().try_for_each(|key| add_work(IDENTITIES, id, key))?;
                Ok(part)
            })
            .collect::<rusqlite::Result<_>>()?,
        authorities: rows(AUTHORITIES)?
            .map(|id| {
                let query = "SELECT id, fingerprint, certificate, trusted, added_at FROM authorities";
                row_with(db, AUTHORITIES, query, id, authority)
            })
            .collect::<Result<_, _>>()?,
        enrollments: rows(ENROLLMENTS)?
            .map(|id| {
                let part = enrollment(db, vault, id)?;
                add_work(ENROLLMENTS, id, &part.private_key)?;
                Ok(part)
            })
            .collect::<rusqlite::Result<_>>()?,
        rules: rows(RULES)?.map(|id| rule(db, id)).collect::<Result<_, _>>()?,
        decisions: decisions(db)?,
        history: if with_history { Some(history(db)?) } else { None },
    })
}

fn identity(db: &Connection, vault: &Vault, id: i64) -> rusqlite::Result<IdentityPart> {
    let key = key_of_row(db, id)?;
    // Also shows that the name and the certificate are those of this row
    let opened = vault.open(&key).map_err(as_rusqlite)?;
    let query = "SELECT id, fingerprint, certificate, added_at FROM identities";
    let (certificate, added_at) = row_with(db, IDENTITIES, query, id, |row| {
        read_row(row, IDENTITIES, |row| Ok((read_certificate(row)?, row.get(3)?)))
    })?;
    let private_key = (!key.row.tried.is_lost).then(|| Bytes(opened.into_pkcs8()));
    let certificate = Bytes(Zeroizing::new(certificate.der().to_vec()));
    let KeyRow { name, requires_tls13, permit, .. } = key.row;
    let (permission, confirmation) = (permit.permission.number(), permit.confirmation.number());
    Ok(IdentityPart { name, certificate, private_key, requires_tls13, permission, confirmation, added_at })
}

fn authority(row: &Row<'_>) -> rusqlite::Result<AuthorityPart> {
    read_row(row, AUTHORITIES, |row| {
        let certificate = Bytes(Zeroizing::new(read_certificate(row)?.der().to_vec()));
        Ok(AuthorityPart { certificate, trusted: row.get(3)?, added_at: row.get(4)? })
    })
}

fn enrollment(db: &Connection, vault: &Vault, id: i64) -> rusqlite::Result<EnrollmentPart> {
    let (key, request, made_at) = row_with(db, ENROLLMENTS, ENROLLMENT, id, |row| {
        Ok((parse_enrollment_key(row)?, row.get::<_, Vec<u8>>(1)?, row.get(3)?))
    })?;
    let private_key = Bytes(enrollments::open(vault, &key).map_err(as_rusqlite)?.into_pkcs8());
    Ok(EnrollmentPart { request: Bytes(Zeroizing::new(request)), private_key, made_at })
}

fn rule(db: &Connection, id: i64) -> rusqlite::Result<RulePart> {
    let part = |row: &Row<'_>| Ok(RulePart { rule: row.get(0)?, added_at: row.get(1)? });
    let part = row_with(db, RULES, "SELECT rule, added_at FROM rules", id, part)?;
    Rule::parse(&part.rule).map_err(|error| damaged_row(RULES, id, error.to_string()))?;
    Ok(part)
}

/// The error about a row that `restore` would refuse.
fn damaged_row(table: &'static str, row: i64, detail: String) -> rusqlite::Error {
    as_rusqlite(Error::RowDamaged(Damage { table, row, id: String::new(), detail }))
}

fn decisions(db: &Connection) -> rusqlite::Result<Vec<DecisionPart>> {
    let mut query = db.prepare(
        "SELECT d.host, d.port, i.fingerprint, d.decided_at, d.last_used_at, d.last_outcome, d.identity, d.id
         FROM decisions d LEFT JOIN identities i ON i.id = d.identity WHERE d.session IS NULL ORDER BY d.id",
    )?;
    let rows = query.query_map([], |row| {
        let part = DecisionPart {
            host: row.get(0)?,
            port: row.get(1)?,
            identity: row.get::<_, Option<[u8; 32]>>(2)?.map(Fingerprint::from_bytes).map(Digest),
            decided_at: row.get(3)?,
            last_used_at: row.get(4)?,
            last_outcome: row.get(5)?,
        };
        if part.identity.is_none() && row.get::<_, Option<i64>>(6)?.is_some() {
            let detail = format!("the identity of the decision for {} is not in the store", part.host);
            return Err(damaged_row(DECISIONS, row.get(7)?, detail));
        }
        let outcome = part.last_outcome.as_deref().map(parse_outcome).transpose();
        if outcome.and(check_host(&part.host, part.port)).is_err() {
            let detail = format!("cardcase writes no decision for {:?} with such a host, port or outcome", part.host);
            return Err(damaged_row(DECISIONS, row.get(7)?, detail));
        }
        Ok(part)
    })?;
    rows.collect()
}

fn history(db: &Connection) -> rusqlite::Result<Vec<UsePart>> {
    let mut query = db.prepare(&format!("SELECT {COLUMNS} FROM uses ORDER BY id"))?;
    let rows = query.query_map([], |row| {
        Ok(UsePart {
            at: row.get(0)?,
            host: row.get(1)?,
            port: row.get(2)?,
            program: row.get(3)?,
            identity: row.get::<_, Option<[u8; 32]>>(4)?.map(Fingerprint::from_bytes).map(Digest),
            source: row.get(5)?,
            outcome: row.get(6)?,
            alert: row.get(7)?,
            tls_version: row.get(8)?,
        })
    })?;
    // No code protects the history: what cannot be read, or restored, is left out, as `history` does
    let is_whole = |row: &rusqlite::Result<UsePart>| match row {
        Ok(part) => part.parsed().is_some(),
        Err(error) => !is_about_a_column(error),
    };
    rows.filter(is_whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Ca, Home, NOW};
    use crate::vault::NoUnlocker;

    /// A backup whose contents somebody with its password changed.
    fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Backup, Error> {
        let home = Home::new();
        let root = Ca::root("Root");
        let store = home.with([&root.leaf("Alice"), &root.leaf("Bob")], [&root.certificate]);
        let file = store.backup("", true, NOW, &NoUnlocker).unwrap();
        let mut json = serde_json::from_slice(&sealed_file::open(&file, "").unwrap()).unwrap();
        change(&mut json);
        Backup::open(&sealed_file::seal(&serde_json::to_vec(&json).unwrap(), "").unwrap(), "")
    }

    #[test]
    fn only_a_key_that_fits_its_certificate_is_accepted() {
        changed(|_| {}).unwrap();
        let swapped =
            changed(|json| json["identities"][0]["private_key"] = json["identities"][1]["private_key"].take());
        assert!(matches!(swapped, Err(Error::BackupDamaged { detail }) if detail.contains("Alice")));
    }

    #[test]
    fn contents_that_no_cardcase_has_written_are_refused() {
        let refused: [fn(&mut serde_json::Value); 6] = [
            |json| json["more"] = true.into(),
            |json| drop(json.as_object_mut().unwrap().remove("rules")),
            |json| json["identities"][0]["more"] = 1.into(),
            |json| json["identities"][0]["certificate"] = "AAAA".into(),
            |json| json["identities"][0]["certificate"] = "not base64".into(),
            |json| *json = serde_json::Value::Null,
        ];
        for change in refused {
            assert!(matches!(changed(change), Err(Error::BackupDamaged { .. })));
        }
    }

    #[test]
    fn a_restore_of_impossible_values_stores_nothing() {
        let impossible: [fn(&mut serde_json::Value); 7] = [
            |json| json["settings"]["mode"] = "opera".into(),
            |json| json["rules"] = serde_json::json!([{"rule": "no rule", "added_at": 0}]),
            |json| json["decisions"] = decision("HOST.example", None),
            |json| json["decisions"] = decision("host..example", None),
            |json| json["decisions"] = decision("host.example", Some(0)),
            |json| {
                json["decisions"] = decision("host.example", None);
                json["decisions"][0]["identity"] = "00".repeat(32).into();
            },
            |json| {
                json["decisions"] = decision("host.example", None);
                json["decisions"][0]["last_outcome"] = "maybe".into();
            },
        ];
        for change in impossible {
            let (home, backup) = (Home::new(), changed(change).unwrap());
            let store = home.open();
            store.restore(&backup).unwrap_err();
            assert!(store.identities().unwrap().is_empty() && store.authorities().unwrap().is_empty());
        }
    }

    /// Nothing shows whose key it is.
    #[test]
    fn a_key_that_no_library_can_load_is_left_out() {
        let backup = changed(|json| json["identities"][0]["private_key"] = "AAAA".into()).unwrap();
        let without_key: Vec<bool> = backup.identities.iter().map(|new| new.tried.is_lost).collect();
        assert_eq!(without_key, [true, false]);
    }

    #[test]
    fn what_a_restore_would_refuse_is_in_no_backup() {
        let planted = [
            "INSERT INTO rules (rule, added_at) VALUES ('no rule', 0)",
            "INSERT INTO decisions (host, decided_at) VALUES ('HOST.example', 0)",
        ];
        for sql in planted {
            let home = Home::new();
            let store = home.with([&Ca::root("Root").leaf("Alice")], []);
            store
                .transact_with_vault(|db, vault| {
                    db.execute(sql, [])?;
                    crate::store::integrity::authenticate_terms(db, vault)
                })
                .unwrap();
            let made = store.backup("", false, NOW, &NoUnlocker);
            assert!(matches!(made, Err(Error::RowDamaged(_))), "{sql}: {:?}", made.err());
        }
    }

    #[test]
    fn only_history_that_cardcase_may_have_written_is_saved_and_restored() {
        let used = |at: i64, host: &str| {
            serde_json::json!({
                "at": at, "host": host, "port": 443, "identity": null, "source": "decision", "outcome": "accepted",
                "alert": null, "tls_version": null,
            })
        };
        let long = "long".repeat(MAX_TEXT);
        let backup = changed(|json| {
            let mut odd = used(1, "host.example");
            odd["source"] = long.clone().into();
            json["history"] = [used(1, "host.example"), used(2, "HOST"), used(NOW.0 + 1, "host.example"), odd].into();
        });
        let (home, backup) = (Home::new(), backup.unwrap());
        let store = home.open();
        let restored = store.restore(&backup).unwrap();
        assert_eq!((restored.uses, restored.uses_left_out), (1, 3));
        assert_eq!(store.history(None).unwrap().len(), 1);

        let plant =
            "INSERT INTO uses (at, host, port, source, outcome) VALUES (1, 'BAD HOST', 443, 'decision', 'accepted')";
        store.transact(|db| db.execute(plant, [])).unwrap();
        let again = Backup::open(&store.backup("", true, NOW, &NoUnlocker).unwrap(), "").unwrap();
        assert_eq!(again.contents.history.unwrap().len(), 1);
    }

    /// However many entries a backup brings, and whenever they are from.
    #[test]
    fn a_restore_evicts_nothing_of_the_history_of_the_store() {
        let many: Vec<serde_json::Value> = (0..10_000)
            .map(|number| {
                serde_json::json!({
                    "at": NOW.0 - number % 2, "host": format!("host-{number}.example"), "port": 443, "identity": null,
                    "source": "decision", "outcome": "accepted", "alert": null, "tls_version": null,
                })
            })
            .collect();
        let backup = changed(|json| json["history"] = many.into()).unwrap();
        let (home, own) = (
            Home::new(),
            "INSERT INTO uses (at, host, port, source, outcome) VALUES (1, 'own.example', 443, 'decision', 'accepted')",
        );
        let store = home.open();
        store.transact(|db| db.execute(own, [])).unwrap();
        assert_eq!(store.restore(&backup).unwrap().uses, 9_999);
        assert_eq!(store.history(Some("own.example")).unwrap().len(), 1);
        assert_eq!(store.history(None).unwrap().len(), 10_000);
    }

    fn decision(host: &str, port: Option<u16>) -> serde_json::Value {
        serde_json::json!([{
            "host": host, "port": port, "identity": null, "decided_at": 0, "last_used_at": null, "last_outcome": null,
        }])
    }
}
