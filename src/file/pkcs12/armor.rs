//! Finds the PKCS#12 structure in a file: binary, PEM or base64 text. If there is none, says what the file looks like.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::ber::{self, BerError, Elements, Header};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const END: &str = "-----END";

/// Ignores padding and the last bits: the structure inside shows whether the text is complete.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// 1.2.840.113549.1.7, under which every PKCS#7 content type is.
const PKCS7: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7];

/// What some bytes are, by their first elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Pfx,
    /// The beginning of a sequence, too short to know more.
    TooShort,
    Other(Option<&'static str>),
}

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::file) enum Recognised<'a> {
    /// PKCS#12, in its binary form.
    Pkcs12(Cow<'a, [u8]>),
    /// Something else: what it looks like, with its article, if known.
    Other(Option<&'static str>),
}

/// Finds out whether a file is PKCS#12: binary, or in PEM or base64 text.
///
/// Looks only at the first few elements, so it also recognises a damaged file.
pub(in crate::file) fn recognise(input: &[u8]) -> Recognised<'_> {
    match shape(input) {
        Shape::Pfx => return Recognised::Pkcs12(Cow::Borrowed(input)),
        Shape::TooShort => return Recognised::Other(None),
        Shape::Other(Some(found)) => return Recognised::Other(Some(found)),
        Shape::Other(None) => {}
    }
    match std::str::from_utf8(input).map(|text| text.trim_start_matches('\u{feff}').trim()) {
        Ok(text) if text.contains(BEGIN) => from_pem(text),
        Ok(text) => from_base64(text),
        Err(_) => Recognised::Other(None),
    }
}

/// The first block that holds PKCS#12; writers use different labels.
fn from_pem(text: &str) -> Recognised<'_> {
    let mut found = None;
    for block in text.split(BEGIN).skip(1) {
        let Some((label, body)) = block.split_once(DASHES) else { continue };
        let body = body.split(END).next().unwrap_or_default();
        match decode(body) {
            Some(bytes) if shape(&bytes) == Shape::Pfx => return Recognised::Pkcs12(Cow::Owned(bytes)),
            _ => found = found.or_else(|| pem_name(label)),
        }
    }
    Recognised::Other(found.or(Some("PEM text")))
}

fn from_base64(text: &str) -> Recognised<'_> {
    match decode(text).map(|bytes| (shape(&bytes), bytes)) {
        Some((Shape::Pfx, bytes)) => Recognised::Pkcs12(Cow::Owned(bytes)),
        Some((Shape::Other(Some(found)), _)) => Recognised::Other(Some(found)),
        Some((Shape::Other(None) | Shape::TooShort, _)) => Recognised::Other(Some("text")),
        None => Recognised::Other(text_name(text)),
    }
}

/// Decodes base64 in lines; lines with a colon are PEM headers (RFC 1421).
fn decode(text: &str) -> Option<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.contains(':'));
    let mut letters: Vec<u8> = lines.flat_map(str::bytes).filter(|byte| !byte.is_ascii_whitespace()).collect();
    while letters.last() == Some(&b'=') || (letters.len() % 4 == 1) {
        letters.pop();
    }
    BASE64.decode(letters).ok()
}

fn pem_name(label: &str) -> Option<&'static str> {
    Some(match label {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => "a PEM certificate",
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "a PEM certificate request",
        "PKCS7" | "CMS" => "PKCS#7 in PEM",
        "OPENSSH PRIVATE KEY" => "an OpenSSH private key",
        label if label.ends_with("PRIVATE KEY") => "a PEM private key",
        label if label.ends_with("PUBLIC KEY") => "a PEM public key",
        "X509 CRL" => "a PEM revocation list",
        label if label.starts_with("PGP") => "an OpenPGP file",
        _ => return None,
    })
}

fn text_name(text: &str) -> Option<&'static str> {
    let start = text.get(..64.min(text.len())).unwrap_or_default().to_ascii_lowercase();
    Some(if start.starts_with("<!doctype html") || start.starts_with("<html") {
        "a web page"
    } else if text.chars().any(|letter| letter.is_control() && !letter.is_whitespace()) {
        return None;
    } else {
        "text"
    })
}

fn shape(bytes: &[u8]) -> Shape {
    if let Some(name) = foreign(bytes) {
        return Shape::Other(Some(name));
    }
    if bytes.first() != Some(&ber::SEQUENCE) {
        return Shape::Other(None);
    }
    look_inside(bytes).unwrap_or_else(|unclear| unclear)
}

fn look_inside(bytes: &[u8]) -> Result<Shape, Shape> {
    let (_, content) = enter(bytes)?;
    let (first, inside) = enter(content)?;
    match first.tag {
        ber::INTEGER => after_version(content),
        ber::OBJECT_IDENTIFIER if inside.starts_with(&PKCS7) => Ok(Shape::Other(Some("PKCS#7 (a .p7b or .p7c file)"))),
        ber::SEQUENCE => in_sequence(inside),
        _ => Ok(Shape::Other(None)),
    }
}

/// Files of other kinds, by their first bytes.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [] => "an empty file",
        [0xfe, 0xed, 0xfe, 0xed, ..] => "a Java keystore (JKS); convert it with keytool -importkeystore",
        [0xce, 0xce, 0xce, 0xce, ..] => "a Java keystore (JCEKS); convert it with keytool -importkeystore",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        _ => return None,
    })
}

/// Sequences that begin with an integer differ in its value and in the next element.
fn after_version(content: &[u8]) -> Result<Shape, Shape> {
    let mut elements = Elements(content);
    let version = elements.next().ok_or(Shape::TooShort)?;
    let (second, inside) = enter(elements.0)?;
    Ok(match (version.body, second.tag) {
        ([3], ber::SEQUENCE) => Shape::Pfx,
        ([0], ber::INTEGER) => Shape::Other(Some("an RSA private key (PKCS#1)")),
        ([1], ber::OCTET_STRING) => Shape::Other(Some("an EC private key (SEC 1)")),
        // PKCS#12 of another version; the reader refuses it with that reason
        (_, ber::SEQUENCE) if enter(inside)?.1.starts_with(&PKCS7) => Shape::Pfx,
        ([0 | 1], ber::SEQUENCE) => Shape::Other(Some("a private key (PKCS#8)")),
        _ => Shape::Other(None),
    })
}

fn in_sequence(inside: &[u8]) -> Result<Shape, Shape> {
    Ok(Shape::Other(match enter(inside)?.0.tag {
        ber::CONTEXT_0 => Some("a certificate"),
        ber::OBJECT_IDENTIFIER => Some("an encrypted private key (PKCS#8)"),
        ber::INTEGER => Some("a certificate or a request for one"),
        _ => None,
    }))
}

/// The header of the first element, and everything after that header.
fn enter(bytes: &[u8]) -> Result<(Header, &[u8]), Shape> {
    match ber::header(bytes) {
        Ok(head) => Ok((head, bytes.get(head.size..).unwrap_or_default())),
        Err(BerError::Truncated(_)) => Err(Shape::TooShort),
        Err(BerError::Malformed(_)) => Err(Shape::Other(None)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    const PFX: &[u8] = &[0x30, 0x80, 0x02, 0x01, 0x03, 0x30, 0x80, 0x06, 0x09];

    fn found(input: &[u8]) -> Option<&'static str> {
        match recognise(input) {
            Recognised::Other(found) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pkcs12_is_recognised_in_every_armor() {
        assert_eq!(recognise(PFX), Recognised::Pkcs12(PFX.into()));
        let base64 = BASE64.encode(PFX);
        for text in [
            base64.clone(),
            format!("\u{feff}\r\n{base64}\r\n"),
            format!("-----BEGIN PKCS12-----\n{base64}\n-----END PKCS12-----\n"),
            format!(
                "Bag Attributes\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n-----BEGIN WHATEVER-----\nA: b\n\n{base64}\n-----END WHATEVER-----"
            ),
        ] {
            assert_eq!(recognise(text.as_bytes()), Recognised::Pkcs12(PFX.into()), "{text}");
        }
    }

    #[test]
    fn other_file_types_are_named() {
        assert_eq!(found(b""), Some("an empty file"));
        assert_eq!(found(b"hello, world"), Some("text"));
        assert_eq!(found(b"\xfe\xed\xfe\xed\0\0\0\x02").unwrap().split(';').next(), Some("a Java keystore (JKS)"));
        assert_eq!(found(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"), Some("a PEM certificate"));
        assert_eq!(found(&[0x30, 0x82, 2, 0, 0x30, 0x82, 1, 0, 0xa0, 3]), Some("a certificate"));
        assert_eq!(found(&[0x30, 0x82, 2, 0, 2, 1, 0, 0x30, 13, 6, 9]), Some("a private key (PKCS#8)"));
        assert_eq!(found(&[0x30, 0x82, 2, 0, 2, 1, 0, 2, 0x82, 1, 1]), Some("an RSA private key (PKCS#1)"));
        assert_eq!(found(&[0xff, 0xfe, 0xfd]), None);
    }

    #[test]
    fn a_truncated_header_is_not_recognised() {
        assert_eq!(recognise(&[0x30]), Recognised::Other(None));
        assert_eq!(recognise(&[0x30, 0x80, 0x02, 0x01, 0x03]), Recognised::Other(None));
    }
}
