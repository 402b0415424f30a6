//! The one error: what went wrong, where, and as far as the library knows, what to do.
//!
//! # Example
//!
//! ```
//! use cardcase::{Destination, Error};
//!
//! fn next_step(error: &Error) -> &'static str {
//!     match error {
//!         Error::Aborted { .. } | Error::Declined => "nothing: the person did not want to",
//!         Error::NobodyToAsk { .. } => "decide beforehand",
//!         Error::StoreBusy { .. } => "try again",
//!         _ => "show it to the person",
//!     }
//! }
//!
//! let error = "www..example.com".parse::<Destination>().unwrap_err();
//! assert_eq!(error.to_string(), r#""www..example.com" is not a destination: it has an empty label"#);
//! assert_eq!(next_step(&error), "show it to the person");
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

pub(crate) mod file;

/// Where an error came from, kept for `source()`.
pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// A row of the store that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The table it stands in.
    pub table: &'static str,
    /// Its number there.
    pub row: i64,
    /// The fingerprint in the row, which identifies it in commands; empty for a rule, and if the fingerprint cannot be read.
    pub id: String,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, row, id, detail } = self;
        let short = id.get(..16).unwrap_or(id);
        let short = if short.is_empty() { String::new() } else { format!(" ({short})") };
        write!(f, "the store is damaged: {table}, row {row}{short}: {detail}")
    }
}

/// Everything that can go wrong in this library. Messages are lower-case and end without a full stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of certificates and keys cannot be read or written. Each variant of the inner error says what to do.
    #[error(transparent)]
    File(#[from] file::Error),
    /// A certificate is not valid DER (RFC 5280). Get another copy of it.
    #[error("a certificate is damaged: {detail}")]
    Certificate {
        /// The parser's message.
        detail: String,
    },
    /// A file holds neither a certificate nor a key. Name another file.
    #[error("the file holds no certificate and no key")]
    EmptyFile,
    /// A private key belongs to none of the certificates that are imported with it. Export it again, together with its
    /// certificate.
    #[error("the private key {} belongs to no certificate in the file", .name.as_deref().map_or("in it".to_owned(), |name| format!("{name:?}")))]
    KeyWithoutCertificate {
        /// The friendlyName of the key.
        name: Option<String>,
        /// Position of its file among those brought together with [`Import::extend`](crate::manage::Import::extend), from 0.
        file: usize,
    },
    /// A certificate that is not a CA certificate is imported without its private key. Export it again, together with its
    /// private key.
    #[error("the certificate of {subject} has no private key in the file")]
    CertificateWithoutKey {
        /// Its subject, as RFC 4514 text.
        subject: String,
        /// Position of its file among those brought together with [`Import::extend`](crate::manage::Import::extend), from 0.
        file: usize,
    },
    /// One of several files cannot be imported. The inner error says what to do.
    #[error("{error}")]
    InFile {
        /// What is wrong with it.
        error: file::Error,
        /// Position of its file among those brought together with [`Import::extend`](crate::manage::Import::extend), from 0.
        file: usize,
    },
    /// What a certificate is to be requested for is no distinguished name. Write it as RFC 4514 does.
    #[error("{subject:?} is no subject: {reason}")]
    Subject {
        /// What was given.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key, or the request for its certificate, could not be made. There is nothing to do about it but to try another kind.
    #[error("the key could not be made: {detail}")]
    KeyNotMade {
        /// What failed.
        detail: String,
    },
    /// The private key of an identity does not belong to its certificate: the store was tampered with or is damaged. Remove the
    /// identity, and import it again from its file.
    #[error("the private key stored for {subject} is not that of its certificate")]
    KeyMismatch {
        /// The subject of the certificate, as RFC 4514 text.
        subject: String,
    },
    /// An identity that requires TLS 1.3 cannot sign anything for other programs: a digest does not show the version of TLS. Permit whole
    /// TLS messages ([`Permission::Tls`](crate::manage::Permission::Tls)), or allow every version of TLS first
    /// ([`Store::require_tls13`](crate::Store::require_tls13)).
    #[error(
        "{name:?} cannot both require TLS 1.3 and sign everything for other programs: a digest does not show the version of TLS"
    )]
    NotWithTls13 {
        /// The name of the identity.
        name: String,
    },
    /// Another program wanted a signature that is not permitted, and there is none. Let the owner permit it
    /// ([`Store::permit`](crate::Store::permit)).
    #[error("nothing was signed: {name:?} {reason}")]
    NotPermitted {
        /// The name of the identity.
        name: String,
        /// What it does not sign, as the rest of a sentence.
        reason: String,
    },
    /// Another program wanted a signature, and the person said no, or nobody answered in time. There is no signature.
    #[error("nothing was signed: nobody confirmed the use of {name:?}")]
    NotConfirmed {
        /// The name of the identity.
        name: String,
    },
    /// A kind of key no handshake can use here. Have a certificate issued for another key.
    #[error("a key of the kind {key} cannot be used: {detail}")]
    UnusableKey {
        /// The kind, as [`crate::manage::KeyKind`] shows it.
        key: String,
        /// What the TLS library says.
        detail: String,
    },
    /// A private key does not open with the data key of its store, or not in its row. Remove the identity, and import it
    /// again from its file.
    #[error("the private key of {name:?} does not open: the store is damaged or was tampered with")]
    SealedKey {
        /// The name of the identity, as the store has it now.
        name: String,
    },
    /// A part of the store was not written by cardcase with the vault open. Let the person look at decisions, rules, trusted
    /// authorities and settings, then call [`Store::accept_terms`](crate::Store::accept_terms).
    #[error("{what} in the store is not authentic: cardcase did not write it, or the store is damaged")]
    NotAuthentic {
        /// What it is.
        what: String,
    },
    /// This library did not write the row of the vault. Restore the file from a backup.
    #[error("the vault of the store is damaged or was tampered with: {detail}")]
    VaultDamaged {
        /// What is wrong with it.
        detail: String,
    },
    /// A store without a primary password has a private key that its vault does not open: somebody replaced the vault, or
    /// changed the row of the key. Nothing is sealed with this vault, and nothing counts as authentic.
    #[error(
        "the vault of the store does not open the private key of {name:?} ({id:.16}): somebody replaced the vault, or changed this row; nothing was sent or stored"
    )]
    VaultReplaced {
        /// The name of the identity.
        name: String,
        /// Its fingerprint.
        id: String,
    },
    /// A file is not a backup of a store. Name another file.
    #[error("it is not a backup of cardcase")]
    NotABackup,
    /// A newer cardcase made the backup. Update this program.
    #[error("the backup has version {found}, and this cardcase knows versions up to {known}")]
    NewerBackup {
        /// Its version.
        found: u8,
        /// The newest version known.
        known: u8,
    },
    /// A backup is not as cardcase made it. Get another copy of it.
    #[error("the backup is damaged: {detail}")]
    BackupDamaged {
        /// What is wrong with it.
        detail: String,
    },
    /// The password of the backup is wrong. Try another one.
    #[error("wrong password (or the beginning of the backup was changed after it was made)")]
    WrongBackupPassword,
    /// The store does not fit into a backup. Leave the history out, or remove identities.
    #[error("the backup would have {size} bytes, and the limit is {limit}")]
    BackupTooLarge {
        /// What it would have.
        size: u64,
        /// The largest size, in bytes.
        limit: u64,
    },
    /// The primary password is needed, and nobody can be asked for it. Give the selector an [`Unlocker`](crate::Unlocker), or start
    /// an [agent](crate::manage::agent).
    #[error("the store is protected by a primary password, and nobody can be asked for it")]
    VaultLocked,
    /// A private key, or the data key, is needed in the clear. The agent signs but gives no keys away, so the primary password is
    /// needed, and nobody can be asked for it. Give the password itself.
    #[error(
        "this needs the private keys in the clear, which the agent never gives away: the primary password is needed, and nobody can be asked for it"
    )]
    AgentKeepsKeys,
    /// The primary password is needed, and the unlocker cannot prompt for it. Unlock the store beforehand.
    #[error("the primary password is needed, and {detail}")]
    CannotAsk {
        /// Who cannot prompt, and why.
        detail: String,
    },
    /// The person declined to give the primary password. Nothing was stored and nothing was sent. Continue only when the person
    /// wants to.
    #[error("aborted: the primary password was not given")]
    Declined,
    /// The desktop's keyring cannot be used. Ask the person instead.
    #[error("the keyring cannot be used: {detail}")]
    Keyring {
        /// What the keyring reports.
        detail: String,
    },
    /// The primary password was wrong in every attempt. Let the person start again.
    #[error("the primary password is wrong")]
    WrongPrimaryPassword,
    /// Another process changed the primary password at the same time. This one changed nothing. Ask the person whether to change
    /// it again.
    #[error("another process changed the primary password meanwhile; nothing was changed by this one")]
    PasswordChanged,
    /// Another process changed the store after the owner saw it, and this one changed nothing. Let the owner look again.
    #[error("another process changed the store meanwhile; nothing was changed by this one")]
    StoreChanged,
    /// The agent that holds the data key does not work. End it ([`Store::end_agent`](crate::Store::end_agent)), and unlock the
    /// store again.
    #[error("the agent of the store {detail}")]
    Agent {
        /// What it does, as the rest of a sentence.
        detail: String,
    },
    /// Encrypting failed, and nothing was stored. The library knows no remedy.
    #[error("a private key cannot be encrypted: {detail}")]
    Sealing {
        /// What the cryptographic library says.
        detail: String,
    },
    /// A file or directory cannot be used. Check that it exists, and who owns it.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The store cannot be read or written. Check the disk, and whether a quota or a limit on file sizes is reached.
    #[error("the store {path} cannot be used: {source}")]
    Store {
        /// The database.
        path: PathBuf,
        /// The error of SQLite.
        source: Source,
    },
    /// Another process locks the store for longer than this one waits. Try again.
    #[error("the store {path} is in use by another process")]
    StoreBusy {
        /// The database.
        path: PathBuf,
    },
    /// The disk of the store is full. The store is unchanged. Free some space.
    #[error("the store {path} cannot be changed: the disk is full")]
    StoreFull {
        /// The database.
        path: PathBuf,
    },
    /// The store can be read but not written. It is unchanged. Allow the user to write there, or open another store.
    #[error("the store {path} cannot be changed: {} is read-only", .place.display())]
    StoreReadOnly {
        /// The database.
        path: PathBuf,
        /// What is read-only: the database, or its directory.
        place: PathBuf,
    },
    /// There is no store at this path, and nothing was created. Name another file, or create a store
    /// ([`Store::open`](crate::Store::open)).
    #[error("there is no store {path}")]
    NoStore {
        /// The path.
        path: PathBuf,
    },
    /// A file is not a store of cardcase. It is unchanged. Name another file.
    #[error("{path} is not a cardcase store: {detail}")]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        detail: String,
    },
    /// Another user may have put the file there, or may read what is written to it. It is unchanged. Name a file that belongs to
    /// the user, and not a link to it.
    #[error("the store {path} is refused: {reason}")]
    NotYours {
        /// The database, or what SQLite keeps beside it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Other users can put files into the directory of a store, such as a journal that SQLite would play back into it. Nothing was
    /// created. Take the permission away from them, or use another directory.
    #[error("the directory of the store is refused, because other users can write to it: {directory} ({reason})")]
    SharedDirectory {
        /// The directory.
        directory: PathBuf,
        /// Its mode or its owner.
        reason: String,
    },
    /// A newer cardcase wrote the store. It is unchanged. Update this program.
    #[error("the store {path} has version {found}, and this cardcase knows versions up to {known}")]
    NewerStore {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The data directory of the user is unknown. Name a file.
    #[error("the user has no home directory, so there is no default path for the store")]
    NoDataDirectory,
    /// The CA certificates of the system, which verify servers, cannot be read. Install them (`ca-certificates`), or name a file with
    /// the variable `SSL_CERT_FILE`.
    #[error("the CA certificates of the system cannot be read: {source}")]
    NoRoots {
        /// Why not.
        source: Source,
    },
    /// A TLS configuration for one destination was also used for another host, and it cannot be told which of the two asks for a
    /// certificate. Make a configuration for each host.
    #[error("the TLS configuration for {destination} was also used for {other}: make one for each host")]
    OtherHost {
        /// The destination that the configuration is for.
        destination: String,
        /// The other host.
        other: String,
    },
    /// The session store of a TLS configuration was replaced, so it is not known which host asks for a certificate. Leave
    /// `resumption` of the configuration as it is.
    #[error("the session store of the TLS configuration for {destination} was replaced: leave its resumption as it is")]
    SessionStoreReplaced {
        /// The destination that the configuration is for.
        destination: String,
    },
    /// The store holds something that cardcase never writes. Restore the file from a backup.
    #[error("the store is damaged: {detail}")]
    StoreDamaged {
        /// Which table, and what.
        detail: String,
    },
    /// A row of the store that is needed cannot be read. Remove it, and import again what it held.
    #[error("{0}")]
    RowDamaged(Damage),
    /// An identity cannot have this name. Choose another.
    #[error("the name {name:?} cannot be given: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// No identity has this name or fingerprint. [`Store::identities`](crate::Store::identities) lists them.
    #[error("no identity has the name {id:?}{}", begins_with(.id, ", or a fingerprint that begins with it"))]
    UnknownIdentity {
        /// What was asked for.
        id: String,
    },
    /// The identity that a person chose by its name has another name now. Choose again.
    #[error(
        "{name:?} was chosen, and now that is the name of another identity, or of none: nothing was stored and nothing was sent"
    )]
    Renamed {
        /// The name that was chosen.
        name: String,
    },
    /// No authority has this fingerprint. [`Store::authorities`](crate::Store::authorities) lists them.
    #[error("no authority has a fingerprint that begins with {id:?}{}", begins_with(.id, ""))]
    UnknownAuthority {
        /// What was asked for.
        id: String,
    },
    /// Several names or fingerprints match. Give more digits.
    #[error("several fingerprints begin with {id:?}")]
    Ambiguous {
        /// What was asked for.
        id: String,
    },
    /// Nothing is remembered for a destination. [`Store::decisions`](crate::Store::decisions) lists what is.
    #[error("nothing is remembered for {scope}")]
    UnknownDecision {
        /// The scope, as host or host and port.
        scope: String,
    },
    /// A text is no host, or no host and port. It is written `host`, `host:port` or `[IPv6 address]:port`.
    #[error("{text:?} is not a destination: {reason}")]
    Destination {
        /// The text.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A text is not a mode. The modes are `firefox` and `chrome`.
    #[error("{text:?} is not a mode: the modes are 'firefox' and 'chrome'")]
    Mode {
        /// The text.
        text: String,
    },
    /// A text is not a rule, or not a part of one. [`Rule`](crate::manage::Rule) describes the form.
    #[error("{text:?} is not a rule: {reason}")]
    Rule {
        /// The text.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A file holds no rules. A managed policy of Chrome is a JSON object with `AutoSelectCertificateForUrls`.
    #[error("it holds no rules: {detail}")]
    Policy {
        /// What it holds instead, or what is wrong with it.
        detail: String,
    },
    /// A policy file of the administrator, or the directory of these files, cannot be used. Only the administrator can repair it;
    /// until then every selection fails.
    #[error("{path}: {source}")]
    PolicyFile {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Source,
    },
    /// No rule of the store has this number. [`Store::rules`](crate::Store::rules) lists them.
    #[error("there is no rule {number}")]
    UnknownRule {
        /// What was asked for.
        number: i64,
    },
    /// The store would hold too many rules. Remove some, or replace several by one with a wider pattern.
    #[error("a store can hold {most} rules at most")]
    TooManyRules {
        /// The largest number.
        most: i64,
    },
    /// A rule forbids what the caller wants sent. Use another identity, or change that rule.
    #[error("{name:?} is not sent to {destination}: {rule} denies it")]
    Denied {
        /// The identity.
        name: String,
        /// Where it would have gone.
        destination: String,
        /// Which rule.
        rule: String,
    },
    /// An identity does not renew another, so it cannot take over its decisions. Remember the new one yourself:
    /// [`Store::remember`](crate::Store::remember).
    #[error("{new:?} does not renew {old:?}: {reason}")]
    NotARenewal {
        /// The name of the new identity.
        new: String,
        /// The name of the old identity.
        old: String,
        /// The difference between the two.
        reason: &'static str,
    },
    /// The person declined to answer. Nothing was stored and nothing sent. Give up what the connection was for; another
    /// attempt asks again.
    #[error("aborted: nothing was remembered, and nothing sent to {destination}")]
    Aborted {
        /// Where a certificate was asked for.
        destination: String,
    },
    /// An answer was needed, and asking for it went wrong. Nothing was stored and nothing sent. Fix the chooser, or
    /// decide beforehand.
    #[error("the chooser gave no answer ({reason}): nothing was remembered, and nothing sent to {destination}")]
    ChooserFailed {
        /// Where a certificate was asked for.
        destination: String,
        /// Who failed, and why.
        reason: String,
    },
    /// An answer was needed, and nobody can be asked. Nothing was stored and nothing sent. Give the selector a
    /// [`Chooser`](crate::Chooser), or decide beforehand: [`Store::remember`](crate::Store::remember),
    /// or a [rule](crate::manage).
    #[error("{destination} asks for a client certificate, {}, and nobody can be asked", .remembered.as_ref().map_or("nothing is remembered for it".to_owned(), |unfit| format!("the remembered certificate no longer fits ({unfit})")))]
    NobodyToAsk {
        /// Where a certificate was asked for.
        destination: String,
        /// The remembered certificate that no longer fits, and why.
        remembered: Option<String>,
    },
    /// The identity that is to be used whatever the server asks for cannot sign for it. Use another identity.
    #[error("{name:?} cannot be used here: {reason}")]
    DoesNotFit {
        /// The identity.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A server keeps asking for something else. Try later; the server is at fault.
    #[error("{destination} changed its certificate request {attempts} times")]
    RequestKeepsChanging {
        /// Which server.
        destination: String,
        /// Connections made.
        attempts: usize,
    },
    /// A server asks while the response is under way, where Chrome does not let it. Firefox mode lets it.
    #[error(
        "{destination} asks for a client certificate in the middle of a response, which is not done in chrome mode"
    )]
    AskedInResponse {
        /// Which server.
        destination: String,
    },
}

/// What is said of a fingerprint that was not found by its first digits: `otherwise`, unless the text cannot be such digits because of
/// its length.
fn begins_with<'t>(id: &str, otherwise: &'t str) -> &'t str {
    let digits = id.chars().filter(|c| *c != ':');
    let length = digits.clone().count();
    match digits.clone().all(|c| c.is_ascii_hexdigit()) {
        true if length < 4 => "; to find a fingerprint by its first digits, give 4 or more",
        true if length > 64 => "; a SHA-256 fingerprint has 64 digits",
        _ => otherwise,
    }
}
