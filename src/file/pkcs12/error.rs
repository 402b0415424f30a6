//! What can be wrong with a PKCS#12 file.

/// Why a PKCS#12 file was not read.
///
/// Every message ends in what to do next where that can be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is something else altogether. Try [`pem::read`](crate::file::pem::read), which tells formats apart by
    /// content.
    #[error("not a PKCS#12 file{}", found.map(|it| format!(": it looks like {it}")).unwrap_or_default())]
    NotPkcs12 {
        /// What it looks like, with its article, where that is easily known.
        found: Option<&'static str>,
    },
    /// The file ends before what it announces. Get a whole copy of it.
    #[error("the file is cut short: it ends at byte {at}, at least {missing} bytes too early; get a whole copy of it")]
    Truncated {
        /// Length of what is there, in bytes (of the decoded file, where it came as base64).
        at: usize,
        /// How many bytes are missing at least.
        missing: u64,
    },
    /// The password does not fit. Ask for another one; the empty password is worth a try first.
    #[error("wrong password (or the file was changed after it was made)")]
    WrongPassword,
    /// The password fits the file's MAC, and nothing in the file opens with it. Export the file again, with one
    /// password for all.
    #[error(
        "the password fits the file, but its contents are encrypted with another one; export the file again with one password for all"
    )]
    ContentPassword,
    /// The file uses an algorithm or a format that is not read here. Export the file again, with AES-256 and SHA-256.
    #[error("unsupported {what}: {} ({oid}); export the file again with AES-256 and SHA-256", name.unwrap_or("unknown"))]
    Unsupported {
        /// The role of the algorithm, such as `cipher` or `MAC`.
        what: &'static str,
        /// Its object identifier, in dotted form.
        oid: String,
        /// Its name, where one is known.
        name: Option<&'static str>,
    },
    /// The file asks for more work or memory than is allowed. Raise that limit, if you know where the file comes from.
    #[error("too costly: the file asks for {value} {what}, the limit is {limit}")]
    TooCostly {
        /// What is counted, in the plural.
        what: &'static str,
        /// What the file asks for; `u64::MAX` stands for anything larger still.
        value: u64,
        /// What is allowed, see [`Limits`](super::Limits).
        limit: u64,
    },
    /// A file cannot be written. The library has no remedy.
    #[error("the file cannot be written: {detail}")]
    Writing {
        /// What the cryptographic library says.
        detail: String,
    },
    /// The file breaks the rules of its own format. Get another copy of it, or export it again.
    #[error("the file is damaged: {what}")]
    Damaged {
        /// What is wrong, and where.
        what: &'static str,
    },
}

/// Shorthand for the most frequent error of the parsers.
pub(super) fn damaged(what: &'static str) -> Error {
    Error::Damaged { what }
}
