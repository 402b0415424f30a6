//! The encodings of a password.
//!
//! RFC 7292 appendix B.1 requires UTF-16 with a terminating zero, and PKCS#5 (RFC 8018) recommends UTF-8. Real files use others
//! too; docs/pkcs12.md lists them.

use zeroize::Zeroizing;

/// An encoded password.
pub(super) type Bytes = Zeroizing<Vec<u8>>;

/// Which family of derivations the bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The derivation of RFC 7292 appendix B.
    Pkcs12,
    /// PKCS#5: PBES1, PBES2.
    Pkcs5,
}

/// Every encoding of a password, the most likely first.
pub(super) struct Candidates {
    pkcs12: Vec<Bytes>,
    pkcs5: Vec<Bytes>,
}

impl Candidates {
    pub(super) fn new(password: &str) -> Self {
        let mut pkcs12 = vec![utf16(password)];
        let mut pkcs5 = vec![utf8(password)];
        if password.is_empty() {
            // "No password" differs from the empty password: no bytes, not even the terminating zero
            pkcs12.push(Bytes::default());
        }
        if !password.is_ascii() {
            // OpenSSL before 1.1 widened every byte that was typed in a UTF-8 terminal
            pkcs12.push(widened(password));
            pkcs5.extend(latin1(password));
        }
        // NSS before 3.31 used the encoding of RFC 7292 for PBES2, and still does for PBES1
        pkcs5.push(utf16(password));
        Self { pkcs12, pkcs5 }
    }

    pub(super) fn of(&self, form: Form) -> &[Bytes] {
        match form {
            Form::Pkcs12 => &self.pkcs12,
            Form::Pkcs5 => &self.pkcs5,
        }
    }

    /// Moves the candidate that fitted to the front, to be tried first from now on.
    pub(super) fn prefer(&mut self, form: Form, index: usize) {
        let candidates = match form {
            Form::Pkcs12 => &mut self.pkcs12,
            Form::Pkcs5 => &mut self.pkcs5,
        };
        if let Some(up_to) = candidates.get_mut(..=index) {
            up_to.rotate_right(1);
        }
    }
}

fn utf8(password: &str) -> Bytes {
    Zeroizing::new(password.as_bytes().to_vec())
}

/// BMPString with a terminating zero; surrogate pairs beyond the BMP, as all programs write.
fn utf16(password: &str) -> Bytes {
    collect(password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes), 2 * password.len() + 2)
}

fn widened(password: &str) -> Bytes {
    collect(password.bytes().chain([0]).flat_map(|byte| [0, byte]), 2 * password.len() + 2)
}

fn latin1(password: &str) -> Option<Bytes> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(password.len()));
    for letter in password.chars() {
        bytes.push(u8::try_from(letter).ok()?);
    }
    Some(bytes)
}

/// Collects without reallocating, so that no copy is left in freed memory.
fn collect(bytes: impl Iterator<Item = u8>, capacity: usize) -> Bytes {
    let mut collected = Zeroizing::new(Vec::with_capacity(capacity));
    collected.extend(bytes);
    collected
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn all(password: &str, form: Form) -> Vec<Vec<u8>> {
        Candidates::new(password).of(form).iter().map(|bytes| bytes.to_vec()).collect()
    }

    #[test]
    fn the_empty_password_has_two_encodings() {
        assert_eq!(all("", Form::Pkcs12), [vec![0, 0], vec![]]);
        assert_eq!(all("", Form::Pkcs5), [vec![], vec![0, 0]]);
    }

    #[test]
    fn ascii_costs_one_derivation_in_pkcs12() {
        assert_eq!(all("ab", Form::Pkcs12), [vec![0, b'a', 0, b'b', 0, 0]]);
    }

    #[test]
    fn other_scripts_have_every_known_encoding() {
        assert_eq!(all("é", Form::Pkcs12), [vec![0, 0xe9, 0, 0], vec![0, 0xc3, 0, 0xa9, 0, 0]]);
        assert_eq!(all("é", Form::Pkcs5), [vec![0xc3, 0xa9], vec![0xe9], vec![0, 0xe9, 0, 0]]);
        assert_eq!(all("ы", Form::Pkcs5).len(), 2, "not in Latin-1");
    }

    #[test]
    fn characters_beyond_the_bmp_are_encoded_as_surrogates() {
        assert_eq!(all("😀", Form::Pkcs12)[0], [0xd8, 0x3d, 0xde, 0x00, 0, 0]);
    }

    #[test]
    fn the_preferred_candidate_comes_first() {
        let mut candidates = Candidates::new("é");
        candidates.prefer(Form::Pkcs5, 2);
        assert_eq!(*candidates.of(Form::Pkcs5)[0], [0, 0xe9, 0, 0]);
        assert_eq!(*candidates.of(Form::Pkcs5)[1], [0xc3, 0xa9]);
    }
}
