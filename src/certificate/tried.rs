//! What was found out about a private key when it was imported.

use crate::certificate::public_key::Algorithm;

/// Which libraries made a signature with a private key when it was imported that its certificate verifies. A key is called
/// usable only if that was tried. A sealed key is bound to this record, as to everything in its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tried {
    /// The one that signs for rustls: aws-lc-rs or ring, as the program that imported the key was built.
    pub(crate) by_rustls: bool,
    /// The system's OpenSSL; `None` when a program without it has imported the key.
    pub(crate) by_openssl: Option<bool>,
    /// Whether there is no key any more: the primary password was forgotten.
    pub(crate) is_lost: bool,
}

/// The number for a key that was lost.
const LOST: u8 = 6;

impl Tried {
    /// For a key that was lost.
    pub(crate) const NO_KEY: Self = Self { by_rustls: false, by_openssl: Some(false), is_lost: true };

    /// The number that the store has for it.
    pub(crate) fn number(self) -> u8 {
        if self.is_lost {
            return LOST;
        }
        let by_openssl = match self.by_openssl {
            None => 0,
            Some(false) => 2,
            Some(true) => 4,
        };
        u8::from(self.by_rustls) + by_openssl
    }

    /// [`Identity::is_usable_by_rustls`](crate::Identity::is_usable_by_rustls), for a key of this algorithm.
    pub(crate) fn is_usable_by_rustls(self, algorithm: Algorithm) -> bool {
        let by_openssl = cfg!(feature = "openssl") && self.by_openssl == Some(true);
        (self.by_rustls && algorithm.limit().is_none() || by_openssl) && algorithm.schemes().next().is_some()
    }

    /// [`Identity::is_usable_by_openssl`](crate::Identity::is_usable_by_openssl), for a key of this algorithm.
    pub(crate) fn is_usable_by_openssl(self, algorithm: Algorithm) -> bool {
        let signs = self.by_openssl.unwrap_or(self.by_rustls);
        cfg!(feature = "openssl") && signs && algorithm.openssl_schemes(false).next().is_some()
    }

    /// From the store, whose schema allows no other numbers.
    pub(crate) fn from_number(number: u8) -> Self {
        if number == LOST {
            return Self::NO_KEY;
        }
        let by_openssl = match number / 2 {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        };
        Self { by_rustls: number % 2 == 1, by_openssl, is_lost: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_each_outcome() {
        for by_rustls in [false, true] {
            for by_openssl in [None, Some(false), Some(true)] {
                let tried = Tried { by_rustls, by_openssl, is_lost: false };
                assert_eq!(Tried::from_number(tried.number()), tried);
            }
        }
        assert_eq!(Tried::from_number(Tried::NO_KEY.number()), Tried::NO_KEY);
    }
}
