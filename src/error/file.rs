//! What can be wrong with a file of certificates and keys.

use std::path::PathBuf;

/// Why a file of certificates and keys could not be read or written.
///
/// Where the remedy is known, the message ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is of another kind. Name another file.
    #[error("neither PKCS#12, nor PEM, nor a DER certificate or key{}", found.as_ref().map(|it| format!(": it looks like {it}")).unwrap_or_default())]
    Unrecognised {
        /// What it looks like, with its article, if known.
        found: Option<String>,
    },
    /// A kubeconfig that only names the files of certificates and keys. Read those files.
    #[error("there is no certificate and no private key in it, but it names the files that hold them: {}", .files.join(", "))]
    NamesFiles {
        /// The files, as it names them; relative ones are relative to its directory.
        files: Vec<String>,
    },
    /// The file holds something else, but no certificate and no key. Name the file that holds them.
    #[error("there is no certificate and no private key in it, only {found}")]
    NothingUseful {
        /// What it holds, with its article.
        found: String,
    },
    /// The file ends too early. Get a complete copy of it.
    #[error("the file is cut short: it ends at byte {at}, at least {missing} bytes too early; get a whole copy of it")]
    Truncated {
        /// Length of the file in bytes, after decoding base64.
        at: usize,
        /// The least number of missing bytes.
        missing: u64,
    },
    /// A PEM block has no end. Get a complete copy of the file.
    #[error("the file is cut short: the {label} that begins in line {line} has no end; get a whole copy of it")]
    UnterminatedBlock {
        /// The label in its first line.
        label: String,
        /// The line where it begins, from 1.
        line: usize,
    },
    /// The contents of a PEM block are invalid. Get another copy of the file.
    #[error("the {label} that begins in line {line} is damaged: {what}")]
    Block {
        /// The label in its first line.
        label: String,
        /// The line where it begins, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The file continues after the end of its DER structure. Get another copy of it.
    #[error("the file is damaged: {count} bytes follow its end")]
    TrailingBytes {
        /// How many bytes follow.
        count: usize,
    },
    /// The file breaks the rules of its own format. Get another copy of it, or export it again.
    #[error("the file is damaged: {what}")]
    Damaged {
        /// What is wrong, and where.
        what: &'static str,
    },
    /// A certificate in the file is not valid DER (RFC 5280). Get another copy of the file.
    #[error("a certificate is damaged: {detail}")]
    Certificate {
        /// The parser's message.
        detail: String,
    },
    /// The password is wrong. Try another one; try the empty password first.
    #[error("wrong password (or the file was changed after it was made)")]
    WrongPassword,
    /// The password is right for the file as a whole, but not for all that it holds. Give the password of the private keys too
    /// (`read_with`).
    #[error("the password opens the file, but a private key or another part of it has a password of its own")]
    ContentPassword,
    /// The private keys of a PEM file have different passwords. Give a second one (`read_with`); put keys with a third one into
    /// files of their own.
    #[error("the password opens only some of the private keys")]
    SeveralPasswords,
    /// The file uses an algorithm or a format that this library cannot read.
    #[error("unsupported {what}: {name}; {advice}")]
    Unsupported {
        /// What kind of thing it is, such as `cipher` or `MAC`.
        what: &'static str,
        /// Its name, with its object identifier where it has one.
        name: String,
        /// What to do, with a command where there is one.
        advice: &'static str,
    },
    /// The file needs more work or memory than the limit allows. If you trust the file, raise the limit
    /// (`read_with`).
    #[error("too costly: the file asks for {value} {what}, the limit is {limit}")]
    TooCostly {
        /// What is counted, in the plural.
        what: &'static str,
        /// What the file needs; `u64::MAX` also stands for anything larger.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A directory has no NSS database. Name the directory of a profile.
    #[error("there is no {missing} in {}", .directory.display())]
    NoDatabase {
        /// The directory.
        directory: PathBuf,
        /// The file that is missing.
        missing: &'static str,
    },
    /// A directory has an NSS database of the form that programs wrote until 2018, in cert8.db and key3.db. Let `certutil` convert it.
    #[error("the database in {} is of the old form: it is in cert8.db and key3.db, which programs wrote until 2018", .directory.display())]
    OldDatabase {
        /// The directory.
        directory: PathBuf,
    },
    /// One of the two files of an NSS database breaks the rules of its format. Get another copy of both.
    #[error("{file} is damaged: {detail}")]
    Database {
        /// Which one: `cert9.db` or `key4.db`.
        file: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The program that an NSS database belongs to ended in the middle of a change. Start that program and close it.
    #[error("the program that uses {} did not end cleanly: a change to it is unfinished", .file.display())]
    UnfinishedDatabase {
        /// The file.
        file: PathBuf,
    },
    /// Another program locks an NSS database for longer than this one waits. Close that program, and try again.
    #[error("{} is in use by another program", .file.display())]
    DatabaseBusy {
        /// The file.
        file: PathBuf,
    },
    /// A file of an NSS database cannot be read. Check who owns it.
    #[error("{}: {detail}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        detail: String,
    },
    /// The file cannot be written.
    #[error("the file cannot be written: {detail}")]
    Writing {
        /// The message of the cryptographic library.
        detail: String,
    },
}

impl Error {
    /// Whether another password may help.
    pub fn is_password(&self) -> bool {
        matches!(self, Self::WrongPassword | Self::ContentPassword | Self::SeveralPasswords)
    }
}

/// The most frequent error of the parsers.
#[cfg(feature = "files")]
pub(crate) fn damaged(what: &'static str) -> Error {
    Error::Damaged { what }
}
