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
pub type Source = Box<dyn StdError + Send + Sync>;

/// A row of the store that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The table it stands in.
    pub table: &'static str,
    /// Its number there.
    pub row: i64,
    /// Its fingerprint as the row has it, by which it can be named.
    pub id: String,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, row, id, detail } = self;
        let short = id.get(..16).unwrap_or(id);
        write!(f, "the store is damaged: {table}, row {row} ({short}): {detail}")
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
    /// A certificate that is to verify servers or to complete chains is no CA's. Take the certificate of the CA that
    /// issued it.
    #[error("the certificate of {subject} is not a CA's")]
    NotAnAuthority {
        /// Its subject, as RFC 4514 text.
        subject: String,
    },
    /// The private key of an identity is not that of its certificate: the store was tampered with or is damaged. Remove
    /// the identity, and import it again from its file.
    #[error("the private key stored for {subject} is not that of its certificate")]
    KeyMismatch {
        /// The subject of the certificate, as RFC 4514 text.
        subject: String,
    },
    /// A kind of key no handshake can use here. Have a certificate issued for another key.
    #[error("a key of the kind {key} cannot be used: {detail}")]
    UnusableKey {
        /// The kind, as [`crate::manage::KeyKind`] shows it.
        key: String,
        /// What the TLS library says.
        detail: String,
    },
    /// A sealed private key does not open with the data key of its store, or not in the row it stands in. Remove the
    /// identity, and import it again from its file.
    #[error("the private key of {name:?} does not open: the store is damaged or was tampered with")]
    SealedKey {
        /// The name of the identity, as the store has it now.
        name: String,
    },
    /// Something in the store was not written by whoever can open its vault. Let the person look at decisions, rules
    /// and settings, then [`Store::accept_terms`](crate::Store::accept_terms).
    #[error("{what} in the store is not authentic: it was not cardcase that wrote it, or the store is damaged")]
    NotAuthentic {
        /// What it is.
        what: String,
    },
    /// The vault's row is not one this library wrote. Restore the file from a backup.
    #[error("the vault of the store is damaged or was tampered with: {detail}")]
    VaultDamaged {
        /// What is wrong with it.
        detail: String,
    },
    /// The primary password is needed, and nobody can be asked for it. Give the selector an
    /// [`Unlocker`](crate::Unlocker), or start an [agent](crate::manage::agent).
    #[error("the store is protected by a primary password, and nobody can be asked for it")]
    VaultLocked,
    /// A private key, or the data key, is needed in the clear. The agent signs, but gives no keys away, so it takes the primary
    /// password, and nobody can be asked for it. Give the password itself.
    #[error(
        "this takes the keys of the store themselves, which the agent never gives away: the primary password is needed, and nobody can be asked for it"
    )]
    AgentKeepsKeys,
    /// The primary password is needed, and whoever was to ask for it does not do so. Unlock it beforehand.
    #[error("the primary password is needed, and {detail}")]
    CannotAsk {
        /// Who it is, and what it does instead.
        detail: String,
    },
    /// The person did not want to give the primary password. Nothing was stored and nothing sent. Go on only when the
    /// person wants to.
    #[error("aborted: the primary password was not given")]
    Declined,
    /// The desktop's keyring cannot be used. Ask the person instead.
    #[error("the keyring cannot be used: {detail}")]
    Keyring {
        /// What it says, or does not.
        detail: String,
    },
    /// The primary password was wrong, three times. Let the person begin anew.
    #[error("the primary password is wrong")]
    WrongPrimaryPassword,
    /// Of two that change the primary password at the same time the other was first. Nothing was changed by this one.
    /// Ask whether it is still to be changed.
    #[error("another process changed the primary password meanwhile; this one changed nothing")]
    PasswordChanged,
    /// The agent that holds the data key does not do what it is asked. End it
    /// ([`Store::end_agent`](crate::Store::end_agent)), and unlock anew.
    #[error("the agent of the store {detail}")]
    Agent {
        /// What it does.
        detail: String,
    },
    /// Encrypting failed. Nothing was stored; the library has no remedy.
    #[error("a private key cannot be encrypted: {detail}")]
    Sealing {
        /// What the cryptographic library says.
        detail: String,
    },
    /// A file or directory cannot be used. See whether it is there, and whose it is.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store cannot be read or written. See whether the disk, a quota or a limit on file sizes is at its end.
    #[error("the store {path} cannot be used: {source}")]
    Store {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: Source,
    },
    /// Another process holds the store for longer than this one waits. Try again.
    #[error("the store {path} is in use by another process")]
    StoreBusy {
        /// The database.
        path: PathBuf,
    },
    /// No room is left where the store is. It is as it was. Make room.
    #[error("the store {path} cannot be changed: the disk is full")]
    StoreFull {
        /// The database.
        path: PathBuf,
    },
    /// The store can be read and not written. It is as it was. Let the user write there, or open another store.
    #[error("the store {path} cannot be changed: {} is read-only", .place.display())]
    StoreReadOnly {
        /// The database.
        path: PathBuf,
        /// What cannot be written to: the same, or its directory.
        place: PathBuf,
    },
    /// A file is no store of cardcase. It was left as it is. Name another file.
    #[error("{path} is not a cardcase store: {detail}")]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        detail: String,
    },
    /// Another user may have put a file where the store is, or reads what is written into it. It was left as it is.
    /// Name a file of the user's own, and not a link to it.
    #[error("the store {path} is not used: {reason}")]
    NotYours {
        /// The database, or what SQLite keeps beside it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was written by a newer cardcase. It was left as it is. Update this program.
    #[error("the store {path} has version {found}, and this cardcase knows versions up to {known}")]
    NewerStore {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// No directory for the user's data is known. Name a file.
    #[error("the user has no home directory, so there is no place for a store")]
    NoDataDirectory,
    /// A row of the store holds what it never should. Restore the file from a backup.
    #[error("the store is damaged: {detail}")]
    StoreDamaged {
        /// Which table, and what.
        detail: String,
    },
    /// A row of the store that is needed cannot be read. Remove it, and import again what it was.
    #[error("{0}")]
    RowDamaged(Damage),
    /// A name is taken. Choose another.
    #[error("the name {name:?} cannot be given: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// No identity has this name or fingerprint. [`Store::identities`](crate::Store::identities) has those there
    /// are.
    #[error("no identity is called {id:?}, and no fingerprint begins so")]
    UnknownIdentity {
        /// What was asked for.
        id: String,
    },
    /// The identity that somebody chose has another name by now than the one they chose it by. Choose again.
    #[error("{name:?} was chosen, and that is another identity by now, or none: nothing was stored and nothing sent")]
    Renamed {
        /// The name it was chosen by.
        name: String,
    },
    /// No authority has this fingerprint. [`Store::list_authorities`](crate::Store::list_authorities) has those
    /// there are.
    #[error("no authority has a fingerprint that begins with {id:?}")]
    UnknownAuthority {
        /// What was asked for.
        id: String,
    },
    /// Several fingerprints begin so. Give more digits.
    #[error("several fingerprints begin with {id:?}")]
    Ambiguous {
        /// What was asked for.
        id: String,
    },
    /// Nothing is remembered for a destination. [`Store::decisions`](crate::Store::decisions) has those there
    /// are.
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
    /// A mode other than the two. It is `firefox` or `chrome`.
    #[error("{text:?} is not a mode: it is 'firefox' or 'chrome'")]
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
    /// A file holds no rules. A managed policy of Chrome is an object with `AutoSelectCertificateForUrls` in it.
    #[error("it holds no rules: {detail}")]
    Policy {
        /// What it holds, or where it is wrong.
        detail: String,
    },
    /// A file of the administrator's rules, or their directory, cannot be used. Only the administrator can mend it;
    /// until then every selection fails.
    #[error("{path}: {source}")]
    PolicyFile {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Source,
    },
    /// No rule of the store has this number. [`Store::rules`](crate::Store::rules) has those there are.
    #[error("there is no rule {number}")]
    UnknownRule {
        /// What was asked for.
        number: i64,
    },
    /// A store holds as many rules as it may. Remove some, or write one with a wider pattern.
    #[error("a store holds {most} rules at most")]
    TooManyRules {
        /// How many it may hold.
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
    /// An identity does not take another's place. Decide for the new one by hand:
    /// [`Store::remember`](crate::Store::remember).
    #[error("{new:?} does not renew {old:?}: {reason}")]
    NotARenewal {
        /// The identity that would take over.
        new: String,
        /// The identity whose decisions it would take.
        old: String,
        /// What they do not share.
        reason: &'static str,
    },
    /// The person declined to answer. Nothing was stored and nothing sent. Give up what the connection was for; another
    /// attempt asks again.
    #[error("aborted: nothing was remembered, and nothing sent to {destination}")]
    Aborted {
        /// Where a certificate was asked for.
        destination: String,
    },
    /// An answer was needed, and asking for it went wrong. Nothing was stored and nothing sent. Mend the chooser, or
    /// decide beforehand.
    #[error("the chooser gave no answer: nothing was remembered, and nothing sent to {destination}")]
    ChooserFailed {
        /// Where a certificate was asked for.
        destination: String,
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
