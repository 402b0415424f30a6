//! Takes off what is around PEM and DER: byte order marks, UTF-16, base64, percent escapes, and configuration files that hold them
//! as values, such as a kubeconfig.
//!
//! Values are recognised by their content and not by the format around them: what decodes from base64 to PEM or to the
//! beginning of a certificate, key or PKCS#12 file is one, whether it stands in YAML, JSON, XML, a `data:` URI or alone.

use std::ops::Deref;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::error::file::Error;
use crate::file::pkcs12::{Shape, shape};
use crate::text::is_unprintable;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// The shortest base64 that may be a value, in letters. The shortest key takes 64, and words are shorter.
const MIN_VALUE: usize = 32;

/// How often base64 may be in base64: a kubeconfig in a Kubernetes secret holds PEM in base64 in base64.
const MAX_DEPTH: usize = 3;

/// How much of a text is shown, in characters.
const SHOWN: usize = 32;

/// Ignores padding and the last bits: the structure inside shows whether the text is complete.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What was in a file.
#[derive(Debug, Default)]
pub(super) struct Unwrapped<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Files of certificates and keys that a kubeconfig names, as it names them.
    pub(super) named_files: Vec<String>,
}

/// Something that was wrapped, or the whole file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text with PEM blocks.
    Pem(Bytes<'a>),
    /// DER or BER, or no known form.
    Binary(Bytes<'a>),
}

/// Bytes of a file, or what was decoded from them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Zeroizing<Vec<u8>>),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Takes the wrapping off a file.
///
/// # Errors
/// [`Error::Unrecognised`] and [`Error::NamesFiles`] for text without certificates and keys.
pub(super) fn unwrap(input: &[u8]) -> Result<Unwrapped<'_>, Error> {
    let mut unwrapped = Unwrapped::default();
    unwrapped.add(Bytes::Borrowed(input), 0);
    if !unwrapped.parts.is_empty() {
        return Ok(unwrapped);
    }
    if !unwrapped.named_files.is_empty() {
        return Err(Error::NamesFiles { files: unwrapped.named_files });
    }
    let text = plain_text(Bytes::Borrowed(input));
    Err(Error::Unrecognised { found: Some(text_name(&String::from_utf8_lossy(&text))) })
}

impl<'a> Unwrapped<'a> {
    fn add(&mut self, bytes: Bytes<'a>, depth: usize) {
        let bytes = plain_text(bytes);
        let has_pem = contains(&bytes, BEGIN);
        if !is_text(&bytes) && (!has_pem || !matches!(shape(&bytes), Shape::Unknown)) {
            self.parts.push(Part::Binary(bytes));
            return;
        }
        let mut values = Vec::new();
        if depth < MAX_DEPTH {
            if (!has_pem || is_data_uri(&bytes))
                && let Some(decoded) = percent_decoded(&bytes)
            {
                return self.add(Bytes::Owned(decoded), depth + 1);
            }
            self.named_files.extend(named_files(&bytes));
            values = values_in(&bytes);
        }
        if has_pem {
            self.parts.push(Part::Pem(bytes));
        }
        values.into_iter().for_each(|value| self.add(Bytes::Owned(value), depth + 1));
    }
}

/// Without byte order marks, and as UTF-8 if it was UTF-16: Windows' Notepad writes both.
fn plain_text(bytes: Bytes<'_>) -> Bytes<'_> {
    match &*bytes {
        [0xff, 0xfe, text @ ..] => Bytes::Owned(from_utf16(text, u16::from_le_bytes)),
        [0xfe, 0xff, text @ ..] => Bytes::Owned(from_utf16(text, u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, ..] => plain_text(match bytes {
            Bytes::Borrowed(bytes) => Bytes::Borrowed(bytes.get(3..).unwrap_or_default()),
            Bytes::Owned(bytes) => Bytes::Owned(Zeroizing::new(bytes.get(3..).unwrap_or_default().to_vec())),
        }),
        _ => bytes,
    }
}

fn from_utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> Zeroizing<Vec<u8>> {
    let (units, _) = text.as_chunks::<2>();
    // Never reallocated, so that no copy of a key is left in freed memory: a unit takes three bytes at most
    let mut utf8 = Zeroizing::new(Vec::with_capacity(3 * units.len()));
    for letter in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        let letter = letter.unwrap_or(char::REPLACEMENT_CHARACTER);
        utf8.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
    utf8
}

/// Whether these are printable characters, white space and escape sequences only. DER never is, because of its tags.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.chars().all(|letter| !letter.is_control() || letter.is_whitespace() || letter == '\u{1b}')
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    position(bytes, wanted).is_some()
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn is_data_uri(text: &[u8]) -> bool {
    text.trim_ascii_start().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"data:"))
}

/// A text with its percent escapes replaced, and without the beginning of a `data:` URI (RFC 2397); `None` without them.
fn percent_decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let comma = is_data_uri(text).then(|| text.iter().position(|byte| *byte == b',')).flatten();
    let start = comma.map_or(0, |comma| comma + 1);
    let mut rest = text.get(start..).unwrap_or_default();
    let mut decoded = Zeroizing::new(Vec::with_capacity(rest.len()));
    let mut has_escapes = false;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| hex(after.get(..2)?)).flatten();
        has_escapes |= escaped.is_some();
        decoded.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    (has_escapes || start > 0).then_some(decoded)
}

fn hex(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What is in base64 outside of the PEM blocks of a text, decoded.
fn values_in(text: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut values = Vec::new();
    let mut rest = text;
    loop {
        let (outside, block) = rest.split_at(position(rest, BEGIN).unwrap_or(rest.len()));
        values_outside(&unescaped(outside), &mut values);
        match position(block, END) {
            Some(end) => rest = block.get(end + END.len()..).unwrap_or_default(),
            None => return values,
        }
    }
}

fn values_outside(text: &[u8], values: &mut Vec<Zeroizing<Vec<u8>>>) {
    let mut rest = text;
    // Many beginnings of values without an end must not take quadratic time
    let mut work = 4 * text.len();
    while let Some(at) = rest.iter().position(|byte| is_letter(*byte)) {
        let from = rest.get(at..).unwrap_or_default();
        let mut length = word(from);
        if length >= MIN_VALUE && from.get(..MIN_VALUE).and_then(decoded).is_some_and(|start| may_begin_value(&start)) {
            let whole = with_more_lines(from, length);
            let value = from.get(..whole).and_then(decoded).filter(|bytes| is_value(bytes));
            if value.is_some() || work < whole {
                length = whole;
            }
            work = work.saturating_sub(whole);
            values.extend(value);
        }
        rest = from.get(length.max(1)..).unwrap_or_default();
    }
}

/// Whether a byte belongs to the alphabets of RFC 4648 sections 4 and 5.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// The length of the letters at the beginning of a text, with their padding.
fn word(text: &[u8]) -> usize {
    let letters = text.iter().take_while(|byte| is_letter(**byte)).count();
    letters + text.iter().skip(letters).take_while(|byte| **byte == b'=').count()
}

/// The length of a value that may go on in the next lines; its first word takes `length` bytes. A word before a colon or the
/// like is the next key, and no part of it.
fn with_more_lines(text: &[u8], mut length: usize) -> usize {
    loop {
        let after = text.get(length..).unwrap_or_default();
        let spaces = after.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let next = word(after.get(spaces..).unwrap_or_default());
        let end = length + spaces + next;
        let is_more = text.get(length - 1) != Some(&b'=')
            && spaces > 0
            && next > 0
            && text.get(end).is_none_or(|byte| byte.is_ascii_whitespace() || b"<\"'`,;)]}".contains(byte));
        if !is_more {
            return length;
        }
        length = end;
    }
}

fn decoded(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut letters = Zeroizing::new(Vec::with_capacity(value.len()));
    letters.extend(value.iter().filter(|byte| is_letter(**byte)).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        letter => *letter,
    }));
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    // A vector of the right size, so that no copy of a key is left in freed memory
    let mut bytes = Zeroizing::new(vec![0; letters.len() / 4 * 3 + 3]);
    let size = BASE64.decode_slice(&*letters, &mut bytes).ok()?;
    bytes.truncate(size);
    Some(bytes)
}

/// Whether these bytes are the beginning of what [`is_value`] accepts.
fn may_begin_value(start: &[u8]) -> bool {
    // The last letter may be cut
    let text = start.get(..start.len().saturating_sub(3)).unwrap_or_default();
    matches!(shape(start), Shape::Pfx | Shape::Der(_) | Shape::TooShort) || has_mark(start) || is_text(text)
}

fn is_value(bytes: &[u8]) -> bool {
    matches!(shape(bytes), Shape::Pfx | Shape::Der(_)) || has_mark(bytes) || contains(bytes, BEGIN) || is_text(bytes)
}

fn has_mark(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0xef, 0xbb, 0xbf, ..])
}

/// The files that a kubeconfig names, in YAML or JSON.
fn named_files(text: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let mut files: Vec<String> = Vec::new();
    for key in ["client-certificate", "client-key"] {
        for (at, _) in text.match_indices(key) {
            let after = text.get(at + key.len()..).unwrap_or_default();
            let after = after.strip_prefix(['"', '\'']).unwrap_or(after).trim_start_matches([' ', '\t']);
            let file = after.strip_prefix(':').map(|value| scalar(value.trim_start_matches([' ', '\t'])));
            files.extend(file.filter(|file| !file.is_empty()).map(str::to_owned));
        }
    }
    files
}

/// A string at the beginning of a text, with quotes or up to the end of its line.
fn scalar(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            return inside.split(quote).next().unwrap_or_default();
        }
    }
    let line = text.lines().next().unwrap_or_default();
    line.split(" #").next().unwrap_or_default().trim_end_matches([' ', '\t', ',', '}'])
}

/// What a text without certificates and keys looks like, with its article. A single word is not shown: it may be a password.
fn text_name(text: &str) -> String {
    let text = text.trim();
    let start: String = text.chars().take(16).flat_map(char::to_lowercase).collect();
    if text.is_empty() {
        return "an empty file".to_owned();
    }
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        return "a web page".to_owned();
    }
    let line = text.lines().next().unwrap_or_default();
    let shown: String =
        line.chars().take(SHOWN).map(|letter| if is_unprintable(letter) { '?' } else { letter }).collect();
    match text.contains([' ', ':', '=', '\t', '\n']) {
        true => format!("text that begins with '{}'", shown.trim_end()),
        false => "text".to_owned(),
    }
}

/// A text as it was before it was written as a string with escapes, as in JSON or in an environment file. However many
/// backslashes there are, with an `n` they are a line feed.
pub(super) fn unescaped(text: &[u8]) -> Bytes<'_> {
    if !text.contains(&b'\\') {
        return Bytes::Borrowed(text);
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, from) = rest.split_at(at);
        plain.extend_from_slice(before);
        rest = match from {
            [_, b'n' | b'r', after @ ..] => {
                plain.push(b'\n');
                after
            }
            [_, b't', after @ ..] => after,
            [_, b'u', b'0', b'0', high, low, after @ ..] => {
                plain.extend(hex(&[*high, *low]));
                after
            }
            _ => from.get(1..).unwrap_or_default(),
        };
    }
    plain.extend_from_slice(rest);
    Bytes::Owned(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::indexing_slicing)]

    use std::time::{Duration, Instant};

    use base64::prelude::BASE64_STANDARD;

    use super::*;

    /// The first elements of PKCS#12, and enough bytes to be a value.
    const PFX: [u8; 30] = {
        let mut bytes = [7; 30];
        let start = [0x30, 0x80, 2, 1, 3, 0x30, 0x80, 6, 9];
        let mut at = 0;
        while at < start.len() {
            bytes[at] = start[at];
            at += 1;
        }
        bytes
    };

    fn parts(text: &str) -> Vec<Vec<u8>> {
        let found = unwrap(text.as_bytes()).map(|unwrapped| unwrapped.parts).unwrap_or_default();
        let bytes = |part: &Part<'_>| match part {
            Part::Pem(bytes) | Part::Binary(bytes) => bytes.to_vec(),
        };
        found.iter().map(bytes).collect()
    }

    #[test]
    fn a_value_is_found_among_other_words() {
        let base64 = BASE64_STANDARD.encode(PFX);
        let (first, second) = base64.split_at(36);
        for text in [
            format!("this is the file\n{base64}\nRegards, Alice"),
            format!("{}\n{base64}\n", "-".repeat(40)),
            format!("{}\n{base64}\n", "a".repeat(40)),
            format!("key: |\n  {first}\n  {second}\nother: {}", "b".repeat(50)),
            format!("key: {base64}\nmore-of-it-with-a-key-as-long-as-a-value: x"),
            format!(r#"{{"key":"{first}\n{second}","other":1}}"#),
        ] {
            let [found] = parts(&text).try_into().unwrap_or_else(|other| panic!("{text}: {other:x?}"));
            assert!(found.starts_with(&PFX), "{text}: {found:x?}");
        }
    }

    /// Neither deep recursion nor quadratic time.
    #[test]
    fn hostile_text_takes_linear_time() {
        let size = 4 << 20;
        let beginning = &BASE64_STANDARD.encode("beginnings of text that never becomes any value")[..60];
        for unit in ["data:,", "%25", "%", "a ", "\\", &format!("{beginning}\n"), &format!("{beginning} = ")] {
            let start = Instant::now();
            let text = unit.repeat(size / unit.len());
            let _ = unwrap(text.as_bytes());
            let _ = unwrap(format!("{text}\u{1}").as_bytes());
            assert!(start.elapsed() < Duration::from_secs(20), "{unit}");
        }
    }
}
