//! What some bytes are, by their first elements: PKCS#12, or something else with a name.

use super::ber::{self, BerError, Elements, Header};

/// 1.2.840.113549.1.7, under which every PKCS#7 content type is.
const PKCS7: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7];

/// What some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file) enum Shape {
    /// PKCS#12, perhaps damaged or of another version.
    Pfx,
    /// The beginning of a sequence, too short to know more.
    TooShort,
    /// DER of another kind, by its name with an article.
    Der(&'static str),
    /// A file of another kind, by its name with an article.
    Foreign(&'static str),
    Unknown,
}

/// Looks only at the first few elements, so it also recognises what is damaged.
pub(in crate::file) fn shape(bytes: &[u8]) -> Shape {
    if let Some(name) = foreign(bytes) {
        return Shape::Foreign(name);
    }
    if bytes.first() != Some(&ber::SEQUENCE) {
        return Shape::Unknown;
    }
    look_inside(bytes).unwrap_or_else(|unclear| unclear)
}

/// Files of other kinds, by their first bytes.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xce, 0xce, 0xce, 0xce, ..] => "a Java keystore (JCEKS); convert it with keytool -importkeystore",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [b'%', b'P', b'D', b'F', ..] => "a PDF document",
        _ => return None,
    })
}

fn look_inside(bytes: &[u8]) -> Result<Shape, Shape> {
    let (_, content) = enter(bytes)?;
    let (first, inside) = enter(content)?;
    match first.tag {
        ber::INTEGER => after_version(content),
        ber::OBJECT_IDENTIFIER if inside.starts_with(&PKCS7) => Ok(Shape::Der("PKCS#7 (a .p7b or .p7c file)")),
        ber::SEQUENCE => in_sequence(inside),
        _ => Ok(Shape::Unknown),
    }
}

/// Sequences that begin with an integer differ in its value and in the next element.
fn after_version(content: &[u8]) -> Result<Shape, Shape> {
    let mut elements = Elements(content);
    let version = elements.next().ok_or(Shape::TooShort)?;
    let (second, inside) = enter(elements.0)?;
    Ok(match (version.body, second.tag) {
        ([3], ber::SEQUENCE) => Shape::Pfx,
        ([0], ber::INTEGER) => Shape::Der("an RSA private key (PKCS#1)"),
        ([1], ber::OCTET_STRING) => Shape::Der("an EC private key (SEC 1)"),
        // PKCS#12 of another version; the reader refuses it with that reason
        (_, ber::SEQUENCE) if enter(inside)?.1.starts_with(&PKCS7) => Shape::Pfx,
        ([0 | 1], ber::SEQUENCE) => Shape::Der("a private key (PKCS#8)"),
        _ => Shape::Unknown,
    })
}

fn in_sequence(inside: &[u8]) -> Result<Shape, Shape> {
    Ok(match enter(inside)?.0.tag {
        ber::CONTEXT_0 => Shape::Der("a certificate"),
        ber::OBJECT_IDENTIFIER => Shape::Der("an encrypted private key (PKCS#8)"),
        ber::INTEGER => Shape::Der("a certificate or a request for one"),
        _ => Shape::Unknown,
    })
}

/// The header of the first element, and everything after that header.
fn enter(bytes: &[u8]) -> Result<(Header, &[u8]), Shape> {
    match ber::header(bytes) {
        Ok(head) => Ok((head, bytes.get(head.size..).unwrap_or_default())),
        Err(BerError::Truncated(_)) => Err(Shape::TooShort),
        Err(BerError::Malformed(_)) => Err(Shape::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_elements_show_the_kind() {
        for (bytes, expected) in [
            (&[0x30, 0x80, 2, 1, 3, 0x30, 0x80, 6, 9][..], Shape::Pfx),
            (&[0x30, 0x82, 2, 0, 0x30, 0x82, 1, 0, 0xa0, 3], Shape::Der("a certificate")),
            (&[0x30, 0x82, 2, 0, 2, 1, 0, 0x30, 13, 6, 9], Shape::Der("a private key (PKCS#8)")),
            (&[0x30, 0x82, 2, 0, 2, 1, 0, 2, 0x82, 1, 1], Shape::Der("an RSA private key (PKCS#1)")),
            (b"PK\x03\x04", Shape::Foreign("a ZIP archive")),
            (&[0xff, 0xfe, 0xfd], Shape::Unknown),
            (&[], Shape::Unknown),
        ] {
            assert_eq!(shape(bytes), expected, "{bytes:x?}");
        }
        assert!(matches!(shape(b"\xce\xce\xce\xce\0\0\0\x02"), Shape::Foreign(name) if name.contains("JCEKS")));
    }

    #[test]
    fn a_truncated_header_is_too_short() {
        assert_eq!(shape(&[0x30]), Shape::TooShort);
        assert_eq!(shape(&[0x30, 0x80, 0x02, 0x01, 0x03]), Shape::TooShort);
    }
}
