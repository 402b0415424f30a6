//! The encodings of a password.
//!
//! RFC 7292 appendix B.1 requires UTF-16 with a terminating zero, and PKCS#5 (RFC 8018) recommends UTF-8. Real files use others
//! too; docs/pkcs12.md lists them. An accented letter may be one character or a letter and its accent: some systems enter the
//! one form, some the other, so both are tried (Unicode Standard Annex 15).

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// An encoded password.
pub(super) type Bytes = Zeroizing<Vec<u8>>;

/// Which family of derivations the bytes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file) enum Form {
    /// The derivation of RFC 7292 appendix B.
    Pkcs12,
    /// PKCS#5: PBES1, PBES2.
    Pkcs5,
}

/// Every encoding of one or two passwords, the most likely first.
pub(in crate::file) struct Candidates {
    pkcs12: Vec<Candidate>,
    pkcs5: Vec<Candidate>,
    /// The number of different texts.
    texts: usize,
}

struct Candidate {
    bytes: Bytes,
    /// Which text it encodes.
    text: usize,
}

impl Candidates {
    pub(in crate::file) fn new(password: &str) -> Self {
        let mut candidates = Self { pkcs12: Vec::new(), pkcs5: Vec::new(), texts: 0 };
        candidates.add(password);
        candidates
    }

    /// Adds a second password, that of the private keys. It is tried after the first.
    pub(in crate::file) fn add(&mut self, password: &str) {
        let forms = normal_forms(password);
        let texts = || (self.texts..).zip(forms.iter().map(|form| form.as_str()));
        let each = |encode: fn(&str) -> Bytes| texts().map(move |(text, form)| (text, encode(form)));
        let mut pkcs12: Vec<(usize, Bytes)> = each(utf16).collect();
        let mut pkcs5: Vec<(usize, Bytes)> = each(utf8).collect();
        if password.is_empty() {
            // "No password" differs from the empty password: no bytes, not even the terminating zero
            pkcs12.push((self.texts, Bytes::default()));
        }
        if !password.is_ascii() {
            // OpenSSL before 1.1 widened every byte that was typed in a UTF-8 terminal
            pkcs12.extend(each(widened));
            pkcs5.extend(texts().filter_map(|(text, form)| Some((text, latin1(form)?))));
        }
        // NSS before 3.31 used the encoding of RFC 7292 for PBES2, and still does for PBES1
        pkcs5.extend(each(utf16));
        self.texts += forms.len();
        merge(&mut self.pkcs12, pkcs12);
        merge(&mut self.pkcs5, pkcs5);
    }

    pub(in crate::file) fn of(&self, form: Form) -> impl Iterator<Item = &[u8]> {
        let candidates = match form {
            Form::Pkcs12 => &self.pkcs12,
            Form::Pkcs5 => &self.pkcs5,
        };
        candidates.iter().map(|candidate| candidate.bytes.as_slice())
    }

    /// Moves the candidate that fitted to the front, to be tried first from now on; in the other family, the candidates of the
    /// same text.
    pub(in crate::file) fn prefer(&mut self, form: Form, index: usize) {
        let (candidates, others) = match form {
            Form::Pkcs12 => (&mut self.pkcs12, &mut self.pkcs5),
            Form::Pkcs5 => (&mut self.pkcs5, &mut self.pkcs12),
        };
        let Some(up_to) = candidates.get_mut(..=index) else { return };
        up_to.rotate_right(1);
        let Some(text) = candidates.first().map(|fitted| fitted.text) else { return };
        for list in [candidates, others] {
            list.sort_by_key(|candidate| candidate.text != text);
        }
    }
}

/// The password as it is, and in the normal forms that differ from it.
fn normal_forms(password: &str) -> Vec<Zeroizing<String>> {
    let mut forms = vec![Zeroizing::new(password.to_owned())];
    if !password.is_ascii() {
        // Large enough for both: no normal form takes more than three times as many bytes
        let collect = |letters: &mut dyn Iterator<Item = char>| {
            let mut form = Zeroizing::new(String::with_capacity(3 * password.len()));
            form.extend(letters);
            form
        };
        for form in [collect(&mut password.nfc()), collect(&mut password.nfd())] {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}

/// Adds what is not there yet: two passwords or encodings may give the same bytes.
fn merge(candidates: &mut Vec<Candidate>, more: Vec<(usize, Bytes)>) {
    for (text, bytes) in more {
        if !candidates.iter().any(|known| known.bytes == bytes) {
            candidates.push(Candidate { bytes, text });
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
        Candidates::new(password).of(form).map(<[u8]>::to_vec).collect()
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
        assert_eq!(all("ß", Form::Pkcs12), [vec![0, 0xdf, 0, 0], vec![0, 0xc3, 0, 0x9f, 0, 0]]);
        assert_eq!(all("ß", Form::Pkcs5), [vec![0xc3, 0x9f], vec![0xdf], vec![0, 0xdf, 0, 0]]);
        assert_eq!(all("ы", Form::Pkcs5).len(), 2, "not in Latin-1");
    }

    #[test]
    fn both_normal_forms_are_tried_and_the_typed_one_first() {
        let (composed, decomposed) = ("\u{e9}", "e\u{301}");
        let utf16 = [vec![0, 0xe9, 0, 0], vec![0, b'e', 3, 1, 0, 0]];
        assert_eq!(all(composed, Form::Pkcs12)[..2], utf16);
        assert_eq!(all(decomposed, Form::Pkcs12)[..2], [utf16[1].clone(), utf16[0].clone()]);
        let utf8 = [vec![0xc3, 0xa9], vec![b'e', 0xcc, 0x81]];
        assert_eq!(all(composed, Form::Pkcs5), [&utf8[..], &[vec![0xe9]], &utf16].concat());
        // Hangul is composed of parts too
        assert_eq!(all("한", Form::Pkcs12)[1], [0x11, 0x12, 0x11, 0x61, 0x11, 0xab, 0, 0]);
        // Neither form
        assert_eq!(all("\u{212b}\u{323}", Form::Pkcs12).len(), 6);
    }

    #[test]
    fn characters_beyond_the_bmp_are_encoded_as_surrogates() {
        assert_eq!(all("😀", Form::Pkcs12)[0], [0xd8, 0x3d, 0xde, 0x00, 0, 0]);
    }

    #[test]
    fn the_preferred_candidate_comes_first() {
        let mut candidates = Candidates::new("ß");
        candidates.prefer(Form::Pkcs5, 2);
        let found: Vec<&[u8]> = candidates.of(Form::Pkcs5).collect();
        assert_eq!(found[..2], [&[0, 0xdf, 0, 0][..], &[0xc3, 0x9f]]);
    }

    /// The form that fits the MAC is tried first in the other derivations.
    #[test]
    fn a_normal_form_that_fitted_is_preferred_in_both_families() {
        let mut candidates = Candidates::new("\u{e9}");
        candidates.prefer(Form::Pkcs12, 1);
        assert_eq!(candidates.of(Form::Pkcs5).next(), Some("e\u{301}".as_bytes()));
        candidates.prefer(Form::Pkcs5, 1);
        assert_eq!(candidates.of(Form::Pkcs12).next(), Some(&[0, b'e', 3, 1, 0, 0][..]), "as many bytes as before");
    }

    #[test]
    fn a_second_password_comes_after_the_first_until_it_fits() {
        let mut candidates = Candidates::new("store");
        candidates.add("key");
        candidates.add("store");
        assert_eq!(candidates.of(Form::Pkcs5).take(3).nth(2), Some(&b"key"[..]));
        assert_eq!(candidates.of(Form::Pkcs12).count(), 2);
        candidates.prefer(Form::Pkcs12, 1);
        assert_eq!(candidates.of(Form::Pkcs5).next(), Some(&b"key"[..]));
    }
}
