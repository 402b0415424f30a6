//! Friendly name and local key identifier of a bag (RFC 7292 section 4.2, RFC 2985 section 5.5).

use super::ber::{self, Element};

/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
/// 1.2.840.113549.1.9.21
const LOCAL_KEY_ID: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];

/// The attributes that are used; others are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) friendly_name: Option<String>,
    pub(super) local_key_id: Option<Vec<u8>>,
}

impl Attributes {
    /// Ignores invalid attributes, so that they do not make the bag or the file unreadable.
    pub(super) fn read(set: Element<'_>) -> Self {
        let mut attributes = Self::default();
        for attribute in set.children() {
            let mut parts = attribute.children();
            let Some(oid) = parts.next_if(ber::OBJECT_IDENTIFIER) else { continue };
            let Some(value) = parts.next_if(ber::SET).and_then(|values| values.children().next()) else { continue };
            if oid.body == FRIENDLY_NAME {
                attributes.friendly_name = text(value).or(attributes.friendly_name);
            } else if oid.body == LOCAL_KEY_ID && value.tag == ber::OCTET_STRING {
                attributes.local_key_id = Some(value.body.to_vec());
            }
        }
        attributes
    }
}

/// The name as text, without the terminating zero that some programs write.
fn text(value: Element<'_>) -> Option<String> {
    let text = match value.tag {
        ber::BMP_STRING => utf16(value.body),
        ber::UTF8_STRING | ber::PRINTABLE_STRING | ber::IA5_STRING => String::from_utf8_lossy(value.body).into_owned(),
        _ => return None,
    };
    Some(text.trim_end_matches('\0').to_owned())
}

/// Big-endian UTF-16; a lone surrogate becomes U+FFFD, an odd last byte is dropped.
fn utf16(bytes: &[u8]) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::ber::{Elements, SEQUENCE, encode};
    use super::*;

    fn read(oid: &[u8], value: &[u8]) -> Attributes {
        let attribute = [encode(ber::OBJECT_IDENTIFIER, oid).as_slice(), &encode(ber::SET, value)].concat();
        let set = encode(ber::SET, &encode(SEQUENCE, &attribute));
        Attributes::read(Elements(&set).next().unwrap())
    }

    fn name(tag: u8, text: &[u8]) -> Option<String> {
        read(&FRIENDLY_NAME, &encode(tag, text)).friendly_name
    }

    #[test]
    fn names_may_be_in_any_script() {
        assert_eq!(name(ber::BMP_STRING, &[0x04, 0x38, 0xd8, 0x3d, 0xde, 0x00]).unwrap(), "и😀");
        assert_eq!(name(ber::UTF8_STRING, "имя".as_bytes()).unwrap(), "имя");
        assert_eq!(name(ber::BMP_STRING, &[0, b'a', 0, 0]).unwrap(), "a", "a terminating zero is no letter");
    }

    #[test]
    fn invalid_names_are_tolerated() {
        assert_eq!(name(ber::BMP_STRING, &[0, b'a', 0]).unwrap(), "a");
        assert_eq!(name(ber::BMP_STRING, &[0xd8, 0x00, 0, b'a']).unwrap(), "\u{fffd}a");
        assert_eq!(name(ber::OCTET_STRING, b"a"), None);
        assert_eq!(read(&FRIENDLY_NAME, &[]), Attributes::default());
    }

    #[test]
    fn key_identifiers_are_bytes() {
        assert_eq!(read(&LOCAL_KEY_ID, &[4, 1, 7]).local_key_id.unwrap(), [7]);
        assert_eq!(read(&LOCAL_KEY_ID, &[2, 1, 7]).local_key_id, None);
    }
}
