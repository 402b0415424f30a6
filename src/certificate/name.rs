//! Distinguished names (RFC 5280 section 4.1.2.4): as bytes, as text, and as the key by which two of them are equal.

use std::fmt;

use data_encoding::{HEXLOWER, HEXUPPER};
use der::asn1::ObjectIdentifier;
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use x509_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::prelude::{FromDer, X509Name};

use crate::crypto;
use crate::text::is_unprintable;

/// A distinguished name: the DER as a certificate or a server has it.
///
/// Every byte string is a `Name`. One that does not parse is shown in hexadecimal, and equals only itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    der: Vec<u8>,
}

/// The two names in a certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) issuer: &'a Name,
    pub(crate) subject: &'a Name,
}

/// A key that two names share if they are equal by RFC 5280 section 7.1.
///
/// A SHA-256 of the name with its strings prepared by RFC 4518: case, spaces, string types and the order inside a
/// multi-valued RDN do not matter. Names whose DER is equal have equal keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameKey([u8; 32]);

impl NameKey {
    /// The key as it is stored and indexed.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Name {
    /// A name from its DER, which is not parsed.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Self {
        Self { der: der.into() }
    }

    /// The DER this name was made from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key by which names can be compared (RFC 5280 section 7.1).
    pub(crate) fn key(&self) -> NameKey {
        let Some(rdns) = self.rdns() else { return NameKey(crypto::sha256(&self.der)) };
        let mut bytes = Vec::with_capacity(2 * self.der.len());
        for rdn in &rdns {
            let mut prepared: Vec<Vec<u8>> = rdn.iter().map(Attribute::prepared).collect();
            prepared.sort();
            bytes.extend((prepared.len() as u64).to_be_bytes());
            for attribute in prepared {
                bytes.extend((attribute.len() as u64).to_be_bytes());
                bytes.extend(attribute);
            }
        }
        NameKey(crypto::sha256(&bytes))
    }

    /// What to show a person in a short list: common name, or else organisational unit, organisation, or the whole name.
    pub fn common_name(&self) -> String {
        let rdns = self.rdns().unwrap_or_default();
        let text = |short| rdns.iter().flatten().find(|attribute| attribute.short_name() == Some(short))?.text();
        ["CN", "OU", "O"].into_iter().find_map(text).unwrap_or_else(|| self.to_string())
    }

    /// The text of the first attribute of this type, by its short name (`CN`, `O`, `emailAddress`, ...).
    pub fn attribute(&self, short: &str) -> Option<String> {
        self.rdns()?.iter().flatten().find(|a| a.short_name() == Some(short))?.text()
    }

    /// The texts of all attributes of this type, in their order.
    pub fn attributes(&self, short: &str) -> Vec<String> {
        let rdns = self.rdns().unwrap_or_default();
        rdns.iter().flatten().filter(|a| a.short_name() == Some(short)).filter_map(Attribute::text).collect()
    }

    fn rdns(&self) -> Option<Vec<Vec<Attribute<'_>>>> {
        let (rest, name) = X509Name::from_der(&self.der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        // The attributes borrow from the DER, not from the parsed name
        Some(
            name.iter_rdn()
                .map(|rdn| {
                    rdn.iter()
                        .map(|a| Attribute { oid: a.attr_type().clone(), value: a.attr_value().clone() })
                        .collect()
                })
                .collect(),
        )
    }
}

/// RFC 4514 text. Control and invisible formatting characters are written as hexadecimal pairs, as that RFC allows,
/// so that a name cannot rearrange the terminal or the log it is shown in.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rdns) = self.rdns() else {
            return write!(f, "#{}", HEXLOWER.encode(&self.der));
        };
        for (i, rdn) in rdns.iter().rev().enumerate() {
            for (j, attribute) in rdn.iter().enumerate() {
                let separator = match (i, j) {
                    (0, 0) => "",
                    (_, 0) => ",",
                    _ => "+",
                };
                write!(f, "{separator}{attribute}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// An AttributeTypeAndValue.
struct Attribute<'a> {
    oid: Oid<'a>,
    value: Any<'a>,
}

impl Attribute<'_> {
    /// Type and value as bytes that are equal for equal attributes.
    fn prepared(&self) -> Vec<u8> {
        let mut out = self.oid.as_bytes().to_vec();
        match self.text() {
            // This separator cannot occur in a prepared string, so text and bytes never look the same
            Some(text) => {
                out.extend([0, 1]);
                out.extend(prepare(&text).as_bytes());
            }
            None => {
                out.extend([0, self.value.tag().0 as u8]);
                out.extend(self.value.data);
            }
        }
        out
    }

    /// The value as text, from any string type; `None` for other types and invalid strings.
    fn text(&self) -> Option<String> {
        let data = self.value.data;
        match self.value.tag() {
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
                std::str::from_utf8(data).ok().map(str::to_owned)
            }
            // In practice, T61Strings in certificates are Latin-1
            Tag::T61String => Some(data.iter().map(|&byte| char::from(byte)).collect()),
            Tag::BmpString => {
                let (units, []) = data.as_chunks::<2>() else {
                    return None;
                };
                char::decode_utf16(units.iter().map(|&unit| u16::from_be_bytes(unit))).collect::<Result<_, _>>().ok()
            }
            Tag::UniversalString => {
                let (units, []) = data.as_chunks::<4>() else {
                    return None;
                };
                units.iter().map(|&unit| char::from_u32(u32::from_be_bytes(unit))).collect()
            }
            _ => None,
        }
    }

    fn short_name(&self) -> Option<&'static str> {
        let oid = self.oid.as_bytes();
        SHORT_NAMES.iter().find(|(known, _)| known.as_bytes() == oid).map(|(_, short)| *short)
    }
}

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.short_name(), self.text()) {
            (Some(short), Some(text)) => write!(f, "{short}={}", escape(&text)),
            (Some(short), None) => write!(f, "{short}=#{}", HEXLOWER.encode(self.value.data)),
            (None, Some(text)) => write!(f, "{}={}", self.oid.to_id_string(), escape(&text)),
            (None, None) => write!(f, "{}=#{}", self.oid.to_id_string(), HEXLOWER.encode(self.value.data)),
        }
    }
}

/// Prepares a string by RFC 4518: characters are mapped and their case is folded (2.2), the result is normalized to NFKC (2.3), and
/// runs of spaces count as one (2.6.1). A string with a prohibited character (2.4) is compared as it is.
fn prepare(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return with_single_spaces(&text.to_ascii_lowercase());
    }
    let mapped = text.chars().filter(|&c| !is_mapped_to_nothing(c));
    let mapped = mapped.map(|c| if tables::x520_mapped_to_space(c) { ' ' } else { c });
    let folded: String = mapped.flat_map(tables::case_fold_for_nfkc).nfkc().collect();
    let starts_with_mark = folded.chars().next().is_some_and(is_combining_mark);
    if starts_with_mark || folded.chars().any(is_prohibited) {
        return text.to_owned();
    }
    with_single_spaces(&folded)
}

/// Without leading and trailing spaces, and with one where there are several.
fn with_single_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// RFC 4518 section 2.2: invisible characters, control characters, and those with a control function.
fn is_mapped_to_nothing(c: char) -> bool {
    tables::x520_mapped_to_nothing(c)
        || matches!(c, '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2063}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// RFC 4518 section 2.4. Characters that Unicode 3.2 does not assign are prohibited, so a newer Unicode does not change a key that
/// is stored.
fn is_prohibited(c: char) -> bool {
    tables::unassigned_code_point(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || c == char::REPLACEMENT_CHARACTER
}

/// RFC 4514 section 2.4.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (i, c) in text.chars().enumerate() {
        let edge_space = c == ' ' && (i == 0 || i == last);
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') || edge_space || (c == '#' && i == 0) {
            out.push('\\');
            out.push(c);
        } else if is_unprintable(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push('\\');
                out.push_str(&HEXUPPER.encode(&[byte]));
            }
        } else {
            out.push(c);
        }
    }
    out
}

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// RFC 4514 section 3, RFC 4519, and the names that OpenSSL and NSS use for the others.
static SHORT_NAMES: [(ObjectIdentifier, &str); 19] = [
    (oid("2.5.4.3"), "CN"),
    (oid("2.5.4.4"), "SN"),
    (oid("2.5.4.5"), "serialNumber"),
    (oid("2.5.4.6"), "C"),
    (oid("2.5.4.7"), "L"),
    (oid("2.5.4.8"), "ST"),
    (oid("2.5.4.9"), "STREET"),
    (oid("2.5.4.10"), "O"),
    (oid("2.5.4.11"), "OU"),
    (oid("2.5.4.12"), "title"),
    (oid("2.5.4.42"), "GN"),
    (oid("2.5.4.43"), "initials"),
    (oid("2.5.4.44"), "generationQualifier"),
    (oid("2.5.4.46"), "dnQualifier"),
    (oid("2.5.4.65"), "pseudonym"),
    (oid("2.5.4.97"), "organizationIdentifier"),
    (oid("0.9.2342.19200300.100.1.1"), "UID"),
    (oid("0.9.2342.19200300.100.1.25"), "DC"),
    (oid("1.2.840.113549.1.9.1"), "emailAddress"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of single-valued RDNs: (last arc of 2.5.4.x, string tag, value).
    fn name(attributes: &[(u8, u8, &[u8])]) -> Name {
        let rdns: Vec<Vec<u8>> = attributes.iter().map(|a| tlv(0x31, &atv(*a))).collect();
        Name::from_der(tlv(0x30, &rdns.concat()))
    }

    fn atv((arc, tag, value): (u8, u8, &[u8])) -> Vec<u8> {
        tlv(0x30, &[vec![6, 3, 0x55, 4, arc], tlv(tag, value)].concat())
    }

    fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag, body.len() as u8], body].concat()
    }

    const UTF8: u8 = 12;
    const PRINTABLE: u8 = 19;
    const T61: u8 = 20;
    const BMP: u8 = 30;

    #[test]
    fn names_equal_by_rfc_5280_have_one_key() {
        let plain = name(&[(10, PRINTABLE, b"Example Org"), (3, PRINTABLE, b"Root CA")]).key();
        let cases: &[(&str, Name, bool)] = &[
            ("string type", name(&[(10, UTF8, b"Example Org"), (3, UTF8, b"Root CA")]), true),
            ("case", name(&[(10, UTF8, b"EXAMPLE org"), (3, UTF8, b"root ca")]), true),
            ("spaces", name(&[(10, UTF8, b"  Example   Org "), (3, UTF8, b"Root CA")]), true),
            ("BMPString", name(&[(10, UTF8, b"Example Org"), (3, BMP, b"\0R\0o\0o\0t\0 \0C\0A")]), true),
            ("order of RDNs", name(&[(3, UTF8, b"Root CA"), (10, UTF8, b"Example Org")]), false),
            ("other attribute", name(&[(11, UTF8, b"Example Org"), (3, UTF8, b"Root CA")]), false),
            ("a word joined", name(&[(10, UTF8, b"ExampleOrg"), (3, UTF8, b"Root CA")]), false),
            ("one RDN less", name(&[(10, UTF8, b"Example Org")]), false),
            ("no name at all", Name::from_der(&b"garbage"[..]), false),
        ];
        for (what, other, equal) in cases {
            assert_eq!(other.key() == plain, *equal, "{what}");
        }
    }

    #[test]
    fn order_inside_a_multi_valued_rdn_does_not_matter() {
        let (a, b) = (atv((3, UTF8, b"a")), atv((11, UTF8, b"b")));
        let one = Name::from_der(tlv(0x30, &tlv(0x31, &[a.clone(), b.clone()].concat())));
        let two = Name::from_der(tlv(0x30, &tlv(0x31, &[b, a].concat())));
        assert_eq!(one.key(), two.key());
        assert_eq!(one.to_string(), "CN=a+OU=b");
    }

    #[test]
    fn strings_are_prepared_by_rfc_4518() {
        let cases: &[(&str, &str, &str, bool)] = &[
            ("case beyond ASCII", "MÜLLER", "müller", true),
            ("case that takes two letters", "STRASSE", "straße", true),
            ("final sigma", "ΟΔΟΣ", "οδος", true),
            ("composed and decomposed", "Caf\u{e9} CA", "Cafe\u{301} CA", true),
            ("composed and decomposed, in capitals", "CAFE\u{301} CA", "caf\u{e9} ca", true),
            ("the order of combining marks", "a\u{323}\u{307}", "a\u{307}\u{323}", true),
            ("Hangul syllables and letters", "\u{ac00}", "\u{1100}\u{1161}", true),
            ("full width", "\u{ff21}\u{ff22} CA", "ab ca", true),
            ("a ligature", "\u{fb01}n", "fin", true),
            ("the Kelvin sign", "\u{212a}", "k", true),
            ("a space that does not break", "Root\u{a0}CA", "root ca", true),
            ("an ideographic space", "Root\u{3000}CA", "root ca", true),
            ("tab and line feed", "Root\t\nCA", "root ca", true),
            ("a soft hyphen", "Ro\u{ad}ot", "root", true),
            ("a zero-width joiner", "Ro\u{200d}ot", "root", true),
            ("a variation selector", "Root\u{fe0f}", "root", true),
            ("another accent", "Caf\u{e9}", "Caf\u{e8}", false),
            ("no accent", "Caf\u{e9}", "Cafe", false),
            ("prohibited: private use, equal", "a\u{e000}", "a\u{e000}", true),
            ("prohibited: private use, case", "A\u{e000}", "a\u{e000}", false),
            ("prohibited: a replacement character", "A\u{fffd}", "a\u{fffd}", false),
            ("prohibited: a combining mark first", "\u{301}A", "\u{301}a", false),
            ("prohibited: newer than Unicode 3.2", "A\u{1f600}", "a\u{1f600}", false),
        ];
        for (what, one, two, equal) in cases {
            let keys = [one, two].map(|text| name(&[(3, UTF8, text.as_bytes())]).key());
            assert_eq!(keys[0] == keys[1], *equal, "{what}");
        }
        let latin1 = name(&[(3, T61, b"m\xfcller stra\xdfe")]).key();
        assert_eq!(latin1, name(&[(3, UTF8, "MÜLLER STRASSE".as_bytes())]).key());
    }

    #[test]
    fn names_are_shown_as_in_rfc_4514() {
        #[allow(clippy::type_complexity)]
        let cases: &[(&[(u8, u8, &[u8])], &str)] = &[
            (&[(6, PRINTABLE, b"DE"), (10, UTF8, b"A, B"), (3, UTF8, b"x")], r"CN=x,O=A\, B,C=DE"),
            (&[(3, UTF8, b" #a ")], r"CN=\ #a\ "),
            (&[(3, UTF8, b"#a")], r"CN=\#a"),
            (&[(3, UTF8, b"a\x1b[2Jb")], r"CN=a\1B[2Jb"),
            (&[(3, UTF8, "a\u{202e}b".as_bytes())], r"CN=a\E2\80\AEb"),
            (&[(99, UTF8, b"v")], "2.5.4.99=v"),
            (&[(3, 3, b"\0\x01")], "CN=#0001"),
        ];
        for (attributes, text) in cases {
            assert_eq!(name(attributes).to_string(), *text);
        }
        assert_eq!(Name::from_der(vec![0x30, 0x05, 1]).to_string(), "#300501");
        assert_eq!(Name::from_der(vec![0x30, 0]).to_string(), "");
    }
}
