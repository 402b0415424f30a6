//! What can be wrong with a PEM or DER file.

use crate::file::pkcs12;

/// Why a PEM or DER file was not read.
///
/// Every message ends in what to do next where that can be known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input is something else altogether. Name another file.
    #[error("neither PKCS#12, nor PEM, nor a DER certificate or key{}", found.map(|it| format!(": it looks like {it}")).unwrap_or_default())]
    NotPem {
        /// What it looks like, with its article, where that is easily known.
        found: Option<&'static str>,
    },
    /// There are neither certificates nor keys in it. Name the file with the certificate and the key.
    #[error("there is no certificate and no private key in it, but {found}")]
    OfNoUse {
        /// What there is, with its article.
        found: &'static str,
    },
    /// A PEM block does not end. Get a whole copy of the file.
    #[error("the file is cut short: the {label} that begins in line {line} has no end; get a whole copy of it")]
    Unended {
        /// What its first line calls it.
        label: String,
        /// The line it begins in, counted from 1.
        line: usize,
    },
    /// What a PEM block holds does not make sense. Get another copy of the file.
    #[error("the {label} that begins in line {line} is damaged: {what}")]
    Block {
        /// What its first line calls it.
        label: String,
        /// The line it begins in, counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// More follows after the end of the DER. Get another copy of the file.
    #[error("the file is damaged: {count} bytes follow its end")]
    Trailing {
        /// How many bytes.
        count: usize,
    },
    /// A format or a cipher that is not read here. `advice` says what to do.
    #[error("unsupported {what}: {name}; {advice}")]
    Unsupported {
        /// What kind of thing it is.
        what: &'static str,
        /// The thing itself.
        name: String,
        /// What to do about it, with a command where there is one.
        advice: &'static str,
    },
    /// The keys of the file have different passwords. Import the others from files of their own.
    #[error("the password opens some of the private keys only; import the others from files of their own")]
    SeveralPasswords,
    /// What can be wrong with encrypted keys and with sizes is the same in PKCS#12 files. Its variants say what to do.
    #[error(transparent)]
    Common(#[from] pkcs12::Error),
}

impl Error {
    /// Whether another password may help.
    pub fn is_password(&self) -> bool {
        matches!(self, Self::SeveralPasswords | Self::Common(pkcs12::Error::WrongPassword))
    }
}
