//! The databases of NSS, in which Firefox, Thunderbird, Chromium and others keep certificates and private keys: cert9.db and key4.db.
//!
//! They are only read. `docs/browsers.md` has what is read of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certificate::import::{FoundCertificate, FoundKey, Import, LeftOut};
use crate::certificate::private_key::PrivateKey;
use crate::certificate::{Certificate, Fingerprint};
use crate::error;
use crate::error::file::Error;
use crate::file::limits::{Budget, Limits};

mod database;
mod object;
mod regular;
mod remembered;
mod seal;

use database::{Database, Object};
use object::{Entries, SealedKey, Trust, TrustIndex};
use remembered::Answer;
use seal::{Passkey, Sealed};

const CERTIFICATES: &str = "cert9.db";
const KEYS: &str = "key4.db";

/// How long to wait for a program that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The certificate database of a program that uses NSS, such as a profile of Firefox or Thunderbird, or `~/.pki/nssdb` of Chromium.
///
/// It may be read while the program runs. Nothing in it is changed. Keys on smart cards are not in it.
///
/// # Example
///
/// ```no_run
/// use cardcase::file::NssDatabase;
///
/// # fn ask() -> String { String::new() }
/// let mut database = NssDatabase::open("/home/alice/.pki/nssdb")?;
/// let import = match database.import("", None) {
///     Err(error) if error.is_password() => database.import(&ask(), None),
///     other => other,
/// }?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NssDatabase {
    directory: PathBuf,
    certificates: Vec<Listed>,
    /// Certificates that cannot be read.
    damaged: Vec<LeftOut>,
    /// What is said of the trust in certificates.
    trust: Vec<Object>,
    private: Vec<Object>,
    entries: Entries,
    trusted: Vec<Certificate>,
}

/// A certificate in the database.
struct Listed {
    certificate: Certificate,
    /// The name that a person gave it.
    label: Option<String>,
    id: Option<Vec<u8>>,
    serial: Vec<u8>,
}

impl NssDatabase {
    /// Reads the files `cert9.db` and `key4.db` in a directory. This needs no password: only the private keys are encrypted. Waits up to
    /// five seconds for a program that writes to them.
    ///
    /// # Errors
    /// [`Error::NoDatabase`], [`Error::OldDatabase`], [`Error::Database`], [`Error::DatabaseBusy`], [`Error::UnfinishedDatabase`],
    /// [`Error::Unreadable`]; [`Error::TooCostly`] for more than 64 MiB.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_within(directory.as_ref(), PATIENCE)
    }

    /// [`Self::open`], without waiting: for a program that only wants to know what is there.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_at_once(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_within(directory.as_ref(), Duration::ZERO)
    }

    fn open_within(directory: &Path, patience: Duration) -> Result<Self, Error> {
        check_files(directory)?;
        let classes = [object::CERTIFICATE, object::TRUST, object::NSS_TRUST];
        let mut public = Database::open(directory, CERTIFICATES, patience)?;
        let public = public.objects("nssPublic", &classes, &object::PUBLIC)?;
        let mut keys = Database::open(directory, KEYS, patience)?;
        let private = keys.objects("nssPrivate", &[object::PRIVATE_KEY], &object::PRIVATE)?;
        let entries = keys.entries()?;
        let (mut certificates, mut damaged, mut trust) = (Vec::new(), Vec::new(), Vec::new());
        for object in public {
            if object.number(object::CLASS) != Some(object::CERTIFICATE) {
                trust.push(object);
                continue;
            }
            match Certificate::from_der(object.get(object::VALUE).unwrap_or_default()) {
                Ok(certificate) => certificates.push(Listed {
                    certificate,
                    label: label(&object),
                    id: object.get(object::ID).map(<[u8]>::to_vec),
                    serial: object::serial_number(&object).unwrap_or_default().to_vec(),
                }),
                Err(error) => damaged.push(unreadable_certificate(&object, error)),
            }
        }
        let directory = directory.to_owned();
        Ok(Self { directory, certificates, damaged, trust, private, entries, trusted: Vec::new() })
    }

    /// Every certificate that can be read, also those without a private key.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter().map(|listed| &listed.certificate)
    }

    /// Checks a password without opening any key. Without a private key and a password, every password is right.
    ///
    /// # Errors
    /// Those of [`Self::import`] about the password.
    pub fn check_password(&self, password: &str, max_iterations: Option<u64>) -> Result<(), Error> {
        let limits = Limits::with_iterations(max_iterations);
        self.passkey(password, &mut Budget::new(&limits)).map(drop)
    }

    /// How many certificates have their private key in the database, as far as can be seen without the password.
    pub fn identities(&self) -> usize {
        self.with_key().count()
    }

    /// Whether a certificate and its private key are in the database, as far as can be seen without the password.
    pub fn has_identity(&self, certificate: &Certificate) -> bool {
        self.with_key().any(|found| found == certificate)
    }

    /// The certificates whose private key is in the database: the one with their public key, or with their number, CKA_ID, where a key
    /// says nothing else.
    fn with_key(&self) -> impl Iterator<Item = &Certificate> {
        let (mut keys, mut numbers) = (HashSet::new(), HashSet::new());
        for object in &self.private {
            match object::public_key(object) {
                Some(public) => drop(keys.insert(public)),
                None => numbers.extend(object.get(object::ID)),
            }
        }
        let has_key = move |listed: &&Listed| {
            keys.contains(&listed.certificate.canonical_public_key())
                || listed.id.as_deref().is_some_and(|id| numbers.contains(id))
        };
        self.certificates.iter().filter(has_key).map(|listed| &listed.certificate)
    }

    /// Decrypts the private keys that belong to a certificate, and returns them with all certificates. What is not imported is in
    /// [`Import::left_out`] once the rest is [paired](Import::pair).
    ///
    /// Without a primary password, and where none was set, `password` is `""`. `max_iterations` is another limit for the rounds of one
    /// key derivation, as in [`read_with`](crate::file::read_with).
    ///
    /// # Errors
    /// [`Error::WrongPassword`]: also when the salt of the password is damaged. [`Error::Database`], [`Error::TooCostly`], and
    /// [`Error::Unsupported`] for an unknown way to check the password.
    pub fn import(&mut self, password: &str, max_iterations: Option<u64>) -> Result<Import, Error> {
        self.import_with_progress(password, max_iterations, &mut |_, _| {})
    }

    /// [`Self::import`], which calls `opened` after each private key, with how many there were and how many there will be.
    ///
    /// # Errors
    /// Those of [`Self::import`].
    pub fn import_with_progress(
        &mut self,
        password: &str,
        max_iterations: Option<u64>,
        opened: &mut dyn FnMut(usize, usize),
    ) -> Result<Import, Error> {
        let limits = Limits::with_iterations(max_iterations);
        let mut budget = Budget::new(&limits);
        let passkey = self.passkey(password, &mut budget)?;
        let mut left_out = self.damaged.clone();
        let keys = match &passkey {
            Some(passkey) => self.keys(passkey, &mut budget, &mut left_out, opened)?,
            None => Vec::new(),
        };
        self.trusted = match &passkey {
            Some(passkey) => self.find_trusted(passkey, &mut budget),
            None => Vec::new(),
        };
        let found = |listed: &Listed| {
            FoundCertificate::new(listed.certificate.clone(), listed.label.clone(), listed.id.clone())
        };
        Ok(Import::from_file(self.certificates.iter().map(found).collect(), keys, left_out, true))
    }

    /// The CA certificates that the program trusts to verify servers, once [`Self::import`] has the password. CA certificates that come
    /// with the program are not among them.
    ///
    /// As in NSS, the code that needs the password does not cover which certificate is trusted. So whoever can write to the file can
    /// move the trust of one certificate to another: let a person compare the fingerprint.
    pub fn trusted_authorities(&self) -> &[Certificate] {
        &self.trusted
    }

    /// What the browser remembers permanently: hosts with the certificate that is sent to them, or `None` where none is sent. An error says
    /// why something is left out: it is for a container tab or another context that only a browser has, its certificate is not in the
    /// database, answers contradict each other, or it is no host.
    ///
    /// The browser has another answer for each way to write a host. `host` says which host is meant, or `None` where it is none, as
    /// [`Destination::host`](crate::Destination::host) does.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    #[expect(clippy::type_complexity, reason = "each host with its answer or a reason, which a type would only rename")]
    pub fn decisions(
        &self,
        host: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<(String, Result<Option<Fingerprint>, &'static str>)>, Error> {
        let list = remembered::read(&self.directory, host)?;
        let by_number: HashMap<(&[u8], &[u8]), Fingerprint> = self.certificates.iter().map(Listed::number).collect();
        let certificate = |answer: Answer| match answer {
            Answer::None => Ok(None),
            Answer::Certificate { issuer, serial } => {
                by_number.get(&(&issuer, &serial)).copied().map(Some).ok_or("its certificate is not in the profile")
            }
        };
        let remembered = list.remembered.into_iter().map(|entry| (entry.host, certificate(entry.answer)));
        let left_out = list.left_out.into_iter().map(|(host, why)| (host, Err(why)));
        Ok(remembered.chain(left_out).collect())
    }

    /// The key of everything that is sealed; `None` if nothing is.
    fn passkey(&self, password: &str, budget: &mut Budget<'_>) -> Result<Option<Passkey>, Error> {
        let Some(entry) = self.entries.get("password") else {
            return match self.private.is_empty() {
                true => Ok(None),
                false => Err(damaged("private keys without the entry that checks the password")),
            };
        };
        let (Some(salt), Some(check)) = (&entry.item1, &entry.item2) else {
            return Err(damaged("the entry that checks the password"));
        };
        let check = Sealed::read(check, budget.limits).map_err(in_keys)?;
        budget.spend(check.rounds())?;
        let passkey = Passkey::new(salt, password);
        if passkey.opens(&check).map_err(in_keys)? { Ok(Some(passkey)) } else { Err(Error::WrongPassword) }
    }

    /// Opens the private keys that may belong to a certificate. Adds the others to `left_out`.
    fn keys(
        &self,
        passkey: &Passkey,
        budget: &mut Budget<'_>,
        left_out: &mut Vec<LeftOut>,
        done: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<FoundKey>, Error> {
        let public_keys: HashSet<_> =
            self.certificates.iter().map(|listed| listed.certificate.canonical_public_key()).collect();
        let mut sealed = Vec::new();
        for object in &self.private {
            if object::public_key(object).is_some_and(|public| !public_keys.contains(&public)) {
                left_out.push(LeftOut::other(key_name(object), WITHOUT_CERTIFICATE));
                continue;
            }
            match SealedKey::read(object, &self.entries, budget.limits) {
                Ok(key) => sealed.push((object, key)),
                Err(error @ Error::TooCostly { .. }) => return Err(error),
                Err(error) => left_out.push(LeftOut::damaged(key_name(object), in_keys(error))),
            }
        }
        // Before any of the work
        budget.spend(sealed.iter().fold(0, |sum, (_, key)| key.rounds().saturating_add(sum)))?;
        let (mut keys, total) = (Vec::new(), sealed.len());
        for (number, (object, key)) in sealed.into_iter().enumerate() {
            let opened = key.open(passkey).map(|pkcs8| (PrivateKey::work(&pkcs8), pkcs8));
            match opened.map_err(in_keys) {
                Ok((work, pkcs8)) => {
                    budget.limits.check_rsa_work(work)?;
                    let key = PrivateKey::from_foreign(pkcs8);
                    if key.public_key().is_some_and(|public| !public_keys.contains(public.as_slice())) {
                        left_out.push(LeftOut::other(key_name(object), WITHOUT_CERTIFICATE));
                    } else {
                        keys.push(FoundKey::new(key, None, object.get(object::ID).map(<[u8]>::to_vec)));
                    }
                }
                Err(error) => left_out.push(LeftOut::damaged(key_name(object), error)),
            }
            done(number + 1, total);
        }
        Ok(keys)
    }

    fn find_trusted(&self, passkey: &Passkey, budget: &mut Budget<'_>) -> Vec<Certificate> {
        let objects = TrustIndex::new(&self.trust);
        let mut trusted = Vec::new();
        for Listed { certificate, serial, .. } in &self.certificates {
            if let Some(trust) = Trust::find(certificate, serial, &objects, &self.entries, budget.limits) {
                // It only names a certificate, so it is left out where it costs too much
                if budget.check(trust.rounds()).and_then(|()| budget.spend(trust.rounds())).is_ok()
                    && trust.is_authentic(passkey)
                {
                    trusted.push(certificate.clone());
                }
            }
        }
        trusted
    }
}

impl Listed {
    /// Issuer and contents of the serial number, by which the browser remembers it.
    fn number(&self) -> ((&[u8], &[u8]), Fingerprint) {
        ((self.certificate.issuer().der(), self.certificate.raw_serial()), self.certificate.fingerprint())
    }
}

/// Shows no secret.
impl fmt::Debug for NssDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NssDatabase")
            .field("directory", &self.directory)
            .field("certificates", &self.certificates.len())
            .field("private_keys", &self.private.len())
            .finish_non_exhaustive()
    }
}

const WITHOUT_CERTIFICATE: &str = "its certificate is not in the database, so no program shows it";

/// Both files, or an error that says what is there instead.
fn check_files(directory: &Path) -> Result<(), Error> {
    if let Err(error) = directory.metadata() {
        return Err(Error::Unreadable { file: directory.to_owned(), detail: error.to_string() });
    }
    let is_there = |name: &str| directory.join(name).symlink_metadata().is_ok();
    for missing in [CERTIFICATES, KEYS] {
        if is_there(missing) {
            continue;
        }
        // A directory without permission to look into it
        if let Err(error) = directory.read_dir() {
            return Err(Error::Unreadable { file: directory.to_owned(), detail: error.to_string() });
        }
        let directory = directory.to_owned();
        return Err(match is_there("cert8.db") || is_there("key3.db") {
            true => Error::OldDatabase { directory },
            false => Error::NoDatabase { directory, missing },
        });
    }
    Ok(())
}

/// The name that a person gave a certificate or key. Firefox numbers those without one.
fn label(object: &Object) -> Option<String> {
    let label = String::from_utf8_lossy(object.get(object::LABEL)?).into_owned();
    let number = label.strip_prefix("Imported Certificate");
    let is_numbered = number.is_some_and(|number| {
        number.is_empty() || number.strip_prefix(" #").is_some_and(|digits| digits.parse::<u32>().is_ok())
    });
    (!is_numbered && !label.is_empty()).then_some(label)
}

fn key_name(object: &Object) -> String {
    label(object).map_or("a private key".to_owned(), |label| format!("the private key {label:?}"))
}

fn unreadable_certificate(object: &Object, error: error::Error) -> LeftOut {
    let what = label(object).map_or("a certificate".to_owned(), |label| format!("the certificate {label:?}"));
    let detail = match error {
        error::Error::Certificate { detail } => detail,
        other => other.to_string(),
    };
    LeftOut::damaged(what, Error::Certificate { detail })
}

fn damaged(detail: &str) -> Error {
    Error::Database { file: KEYS, detail: detail.to_owned() }
}

/// Names the file that is damaged.
fn in_keys(error: Error) -> Error {
    match error {
        Error::Damaged { what } => damaged(what),
        other => other,
    }
}
