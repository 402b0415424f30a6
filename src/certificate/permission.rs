//! What other programs may have signed with the key of an identity, through the PKCS#11 module.

use std::fmt;

/// What programs may have signed through the PKCS#11 module with this identity's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// Nothing.
    #[default]
    Off,
    /// Whole messages of the kind that TLS clients sign, which the agent looks at. No program can have anything else signed.
    Tls,
    /// Every message, and every SHA-256, SHA-384 or SHA-512 digest. Nobody can tell what a digest is for: a program can have documents
    /// signed too.
    Any,
}

/// Whether a person is asked before a signature for another program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Confirmation {
    /// Nobody is asked.
    #[default]
    Never,
    /// Before each signature.
    Each,
    /// Before the first signature for a program; a yes is good for 15 minutes.
    For15Minutes,
}

/// Both. A sealed key is bound to it, as to everything in its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Permit {
    pub(crate) permission: Permission,
    pub(crate) confirmation: Confirmation,
}

impl Permission {
    /// The number that the store has for it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Tls => 1,
            Self::Any => 2,
        }
    }
}

impl Confirmation {
    /// The number that the store has for it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Never => 0,
            Self::Each => 1,
            Self::For15Minutes => 2,
        }
    }
}

impl Permit {
    /// As much of it as an identity can have that requires TLS 1.3, or does not: a digest does not show the version.
    pub(crate) fn within(self, requires_tls13: bool) -> Self {
        let most = if requires_tls13 { Permission::Tls } else { Permission::Any };
        Self { permission: self.permission.min(most), ..self }
    }

    /// From the store, whose schema allows no other numbers. A number without a meaning permits nothing.
    pub(crate) fn from_numbers(permission: u8, confirmation: u8) -> Self {
        let confirmation = match confirmation {
            0 => Confirmation::Never,
            2 => Confirmation::For15Minutes,
            _ => Confirmation::Each,
        };
        let permission = match permission {
            1 => Permission::Tls,
            2 => Permission::Any,
            _ => Permission::Off,
        };
        Self { permission, confirmation }
    }
}

/// `off`, `tls`, `any`, as on the command line.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Tls => "tls",
            Self::Any => "any",
        })
    }
}

/// `never`, `each`, `15m`, as on the command line.
impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Each => "each",
            Self::For15Minutes => "15m",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_each_and_no_other_number_permits_anything() {
        for permission in [Permission::Off, Permission::Tls, Permission::Any] {
            for confirmation in [Confirmation::Never, Confirmation::Each, Confirmation::For15Minutes] {
                let permit = Permit { permission, confirmation };
                assert_eq!(Permit::from_numbers(permission.number(), confirmation.number()), permit);
            }
        }
        for other in 3..=u8::MAX {
            let permit = Permit { permission: Permission::Off, confirmation: Confirmation::Each };
            assert_eq!(Permit::from_numbers(other, other), permit);
        }
    }
}
