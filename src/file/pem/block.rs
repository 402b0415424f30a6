//! PEM text as blocks (RFC 7468; the headers are those of RFC 1421).
//!
//! Parsed here and not by a crate: the crates stop at the first error without saying where it is, and leave copies of private
//! keys in freed memory.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::error::file::Error;
use crate::file::wrapping::{self, Bytes};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The maximum length of a label with its dashes, in bytes.
const MAX_LABEL: usize = 128;

/// The maximum length of a label in an error, in characters.
const LABEL_LENGTH: usize = 40;

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One block of PEM text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    label: &'a str,
    /// The line it begins in, counted from 1.
    line: usize,
    /// Between its first line and its last; `None` if another block begins before it ends, or the text ends.
    body: Option<Bytes<'a>>,
    /// From the text before it, as `openssl pkcs12` writes it.
    pub(super) friendly_name: Option<&'a str>,
}

/// The blocks of a text; none if it is not PEM.
pub(super) fn blocks(input: &[u8]) -> Result<Vec<Block<'_>>, Error> {
    let mut blocks = Vec::new();
    let (mut rest, mut line) = (input, 1);
    while let Some((before, from_label)) = split(rest, BEGIN) {
        line += newlines(before);
        // A longer search would take very long if many blocks are in one long line
        let near = from_label.get(..MAX_LABEL).unwrap_or(from_label);
        let first_line = near.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let label = split(first_line, DASHES).and_then(|(label, _)| std::str::from_utf8(label).ok());
        let Some(label) = label else {
            return Err(unterminated(&String::from_utf8_lossy(first_line), line));
        };
        let content = from_label.get(label.len() + DASHES.len()..).unwrap_or_default();
        let inside = split(content, BEGIN).map_or(content, |(before_next, _)| before_next);
        let (body, after) = match split(inside, END) {
            Some((body, _)) => {
                let from_end = content.get(body.len() + END.len()..).unwrap_or_default();
                let Some((_, after)) = split(from_end, DASHES) else {
                    return Err(unterminated(label, line));
                };
                (Some(wrapping::unescaped(body)), after)
            }
            None if inside.len() == content.len() && blocks.is_empty() => return Err(unterminated(label, line)),
            None => (None, content.get(inside.len()..).unwrap_or_default()),
        };
        blocks.push(Block { label, line, body, friendly_name: friendly_name(before) });
        let used = rest.len() - after.len();
        line += newlines(rest.get(before.len()..used).unwrap_or_default());
        rest = after;
    }
    Ok(blocks)
}

fn unterminated(label: &str, line: usize) -> Error {
    Error::UnterminatedBlock { label: label.trim().chars().take(LABEL_LENGTH).collect(), line }
}

/// What is before the first `mark`, and what is after it.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The last `friendlyName:` of a text.
fn friendly_name(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let name = text.lines().rev().find_map(|line| line.trim_start().strip_prefix("friendlyName:"))?.trim();
    Some(name).filter(|name| !name.is_empty())
}

/// A line without what surrounds it in source code or in mail: `> `, or quotation marks and the characters that join strings.
fn unquoted(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b">").map_or(line, <[u8]>::trim_ascii_start);
    let Some((quote @ (b'"' | b'\''), inside)) = line.split_first() else { return line };
    match inside.iter().rposition(|byte| byte == quote) {
        Some(end) => inside.get(..end).unwrap_or_default(),
        // The closing quotation mark of the line with the label
        None if inside.iter().all(|byte| b",;+). ".contains(byte)) => &[],
        None => inside,
    }
}

impl Block<'_> {
    /// The name of a block to ignore, because it is neither a certificate nor a key.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for keys in formats that are not supported.
    pub(super) fn passed_over(&self) -> Result<Option<&'static str>, Error> {
        let unsupported = |what, advice| Err(Error::Unsupported { what, name: self.label.to_owned(), advice });
        Ok(match self.label {
            "OPENSSH PRIVATE KEY" => {
                return unsupported("private key", "write it as PKCS#8: ssh-keygen -p -m PKCS8 -f FILE");
            }
            "DSA PRIVATE KEY" => return unsupported("private key", "no TLS 1.2 or 1.3 server takes DSA"),
            "PKCS12" | "PFX" | "P12" => return Err(self.block_error("it is no PKCS#12 structure".to_owned())),
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Some("a certificate request"),
            "X509 CRL" => Some("a revocation list"),
            label if label.ends_with("PUBLIC KEY") => Some("a public key"),
            label if label.ends_with("PRIVATE KEY") || label.starts_with("PKCS7") => None,
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" | "PKCS #7 SIGNED DATA" | "CMS" => None,
            label if label.starts_with("PGP") => Some("an OpenPGP message or key"),
            label if label.ends_with("PARAMETERS") => Some("the parameters of a key"),
            _ => Some("a PEM block of another kind"),
        })
    }

    pub(super) fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// The value of a header before the base64.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.lines().filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':')).find_map(|(found, value)| {
            let is_it = found.trim().eq_ignore_ascii_case(name);
            is_it.then(|| value.trim())
        })
    }

    /// Decodes the base64; lines with a colon are headers.
    pub(super) fn decode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Some(body) = &self.body else {
            return Err(self.block_error("it has no end".to_owned()));
        };
        let mut letters = Zeroizing::new(Vec::with_capacity(body.len()));
        for line in self.lines().filter(|line| !line.contains(&b':')).map(unquoted) {
            letters.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
        match BASE64.decode(&*letters) {
            Ok(bytes) if bytes.is_empty() => Err(self.block_error("there is nothing in it".to_owned())),
            Ok(bytes) => Ok(Zeroizing::new(bytes)),
            Err(_) => Err(self.block_error("it is not base64".to_owned())),
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.body.iter().flat_map(|body| body.split(|byte| *byte == b'\n'))
    }

    /// The error for a block with invalid contents.
    pub(super) fn damaged(&self, error: &Error) -> Error {
        self.block_error(match error {
            Error::Truncated { missing, .. } => format!("at least {missing} bytes are missing at its end"),
            Error::Damaged { what } => (*what).to_owned(),
            other => other.to_string(),
        })
    }

    fn block_error(&self, what: String) -> Error {
        Error::Block { label: self.label.chars().take(LABEL_LENGTH).collect(), line: self.line, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_between_blocks_is_ignored_except_for_the_name() {
        let text = "Bag Attributes\r\n    friendlyName: Alice's card\r\n    localKeyID: 01\r\n\
                    -----BEGIN CERTIFICATE-----\r\nMAA=\r\n\r\n-----END CERTIFICATE-----\r\nsubject=CN = x\r\n\
                    -----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-128-CBC,00\n\nMA\nA=\n-----END RSA PRIVATE KEY-----";
        let blocks = blocks(text.as_bytes()).unwrap();
        let [certificate, key] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert_eq!((certificate.label, certificate.line), ("CERTIFICATE", 4));
        assert_eq!(certificate.friendly_name, Some("Alice's card"));
        assert_eq!(**certificate.decode().unwrap(), [0x30, 0]);
        assert_eq!((key.label, key.line, key.friendly_name), ("RSA PRIVATE KEY", 9, None));
        assert_eq!(key.header("dek-info"), Some("AES-128-CBC,00"));
        assert_eq!(**key.decode().unwrap(), [0x30, 0]);
    }

    #[test]
    fn an_unterminated_block_is_named_with_its_line() {
        let cut = |text: &str| match blocks(text.as_bytes()) {
            Err(Error::UnterminatedBlock { label, line }) => (label, line),
            other => panic!("{text}: {other:?}"),
        };
        let whole = "-----BEGIN A-----\nMAA=\n-----END A-----\n";
        let text = format!("{whole}-----BEGIN B-----\nMA");
        let blocks = blocks(text.as_bytes()).unwrap();
        assert_eq!(**blocks[0].decode().unwrap(), [0x30, 0], "the one before it is whole");
        let error = blocks[1].decode().unwrap_err().to_string();
        assert_eq!(error, "the B that begins in line 4 is damaged: it has no end");
        assert_eq!(cut(&format!("{whole}-----BEGIN B--")), ("B--".to_owned(), 4));
        assert_eq!(cut("-----BEGIN B-----\nMA\n-----END B--"), ("B".to_owned(), 1));
    }

    #[test]
    fn lines_may_be_the_strings_of_a_program() {
        for text in [
            "\"-----BEGIN A-----\\n\"\n\"MA\\n\"\n\"A=\\n\"\n\"-----END A-----\\n\";",
            "'-----BEGIN A-----\\n' +\n  'MA\\n' +\n  'A=\\n' +\n  '-----END A-----';",
            "[\"-----BEGIN A-----\",\n \"MA\",\n \"A=\",\n \"-----END A-----\"]",
            "> -----BEGIN A-----\n> MA\n> A=\n> -----END A-----\n",
        ] {
            let blocks = blocks(text.as_bytes()).unwrap();
            assert_eq!(**blocks[0].decode().unwrap(), [0x30, 0], "{text}");
        }
    }

    #[test]
    fn a_block_without_an_end_does_not_take_the_next_one_with_it() {
        let blocks = blocks(b"-----BEGIN B-----\nMA\n-----BEGIN A-----\nMAA=\n-----END A-----\n").unwrap();
        let error = blocks[0].decode().unwrap_err().to_string();
        assert_eq!(error, "the B that begins in line 1 is damaged: it has no end");
        assert_eq!((blocks[1].label, blocks[1].line), ("A", 3));
        assert_eq!(**blocks[1].decode().unwrap(), [0x30, 0]);
    }

    #[test]
    fn a_block_may_be_a_string_with_escapes() {
        for text in [
            r#"{"cert": "-----BEGIN A-----\nMA\nA=\n-----END A-----\n"}"#,
            r"CERT=-----BEGIN A-----\r\n\tMAA=\r\n-----END A-----",
            r"-----BEGIN A-----\\nMAA\u003d\\n-----END A-----",
            "-----BEGIN A----- MAA= -----END A-----",
            "\t-----BEGIN A-----\n\t  MAA=\n\t-----END A-----",
        ] {
            assert_eq!(**blocks(text.as_bytes()).unwrap()[0].decode().unwrap(), [0x30, 0], "{text}");
        }
        let text = r"-----BEGIN A-----\nDEK-Info: AES-128-CBC,00\n\nMA\/\/\n-----END A-----";
        let blocks = blocks(text.as_bytes()).unwrap();
        assert_eq!(blocks[0].header("DEK-Info"), Some("AES-128-CBC,00"));
        assert_eq!(**blocks[0].decode().unwrap(), [0x30, 0x0f, 0xff]);
    }

    /// The time is linear in the size.
    #[test]
    fn many_blocks_take_linear_time() {
        for block in
            ["-----BEGIN A----------END A-----", "-----BEGIN A-----\n-----END A-----\n", "-----BEGIN ", "-----END "]
        {
            let text = block.repeat((16 << 20) / block.len());
            let whole = block.contains("END A");
            match blocks(text.as_bytes()) {
                Ok(found) => assert_eq!(found.len(), if whole { text.len() / block.len() } else { 0 }),
                Err(error) => assert!(!whole, "{error}"),
            }
        }
    }

    #[test]
    fn ignored_blocks_are_named() {
        assert_eq!(blocks(b"hello").unwrap(), []);
        let text = "-----BEGIN EC PARAMETERS-----\nMAA=\n-----END EC PARAMETERS-----";
        let blocks = blocks(text.as_bytes()).unwrap();
        assert_eq!(blocks[0].passed_over().unwrap(), Some("the parameters of a key"));
    }
}
