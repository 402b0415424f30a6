//! The stream below a TLS session. It knows whether the server asked, whether the client signed, and whether the server wants to
//! renegotiate, and writes nothing once a signature was withheld.
//!
//! A resolver serves many connections, and rustls does not say which one it is called for. But rustls resolves and signs while it
//! processes bytes that were just read, on the thread that read them. So the stream below the TLS session leaves its trace with
//! the thread after each read, and the resolver and its keys find it there.
//!
//! In TLS 1.2 rustls puts the client's Certificate and ClientKeyExchange into its buffer before it asks for the signature, and
//! programs write that buffer even when the signature fails. A [`Guarded`] stream writes nothing then.
//!
//! A server that asks for a certificate once it has read the request sends a HelloRequest, in TLS 1.2 (RFC 5246 section
//! 7.4.1.1). rustls declines, and then some servers send an alert, some close or reset the connection, and some wait forever.
//! But a handshake record after the handshake shows what the server wants. If it comes in place of a response, the next read
//! fails at once, with an error of rustls that says so: only another TLS library can go on.
//!
//! All records of a flight go out in one write, as rustls passes them. In separate writes, a server that refuses the first record
//! could close the connection before the last one is written, and its alert would be lost in a broken pipe.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use std::io::{Cursor, Read};
//!
//! use cardcase::{Destination, Selector};
//! use cardcase::raw::Resolver;
//!
//! let selector = Selector::new(store);
//! let resolver = Resolver::new(selector.prepare("intranet.example.com".parse::<Destination>()?)?);
//! // In place of the TCP stream under a TLS session
//! let mut stream = resolver.guard(Cursor::new(b"hello".to_vec()));
//! stream.read_to_string(&mut String::new())?;
//! assert!(!stream.was_asked());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::{HandshakeType, ProtocolVersion};

thread_local! {
    /// The connection whose bytes were read last on this thread.
    static READ_LAST: RefCell<Option<Arc<Trace>>> = const { RefCell::new(None) };
}

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The resolver of the connection. What other resolvers do is not noted.
    resolver: u64,
    asked: AtomicBool,
    answered: AtomicBool,
    withheld: AtomicBool,
    signed: OnceLock<ProtocolVersion>,
    renegotiates: AtomicBool,
    /// Whether the server has sent no application data since the client did.
    awaited: AtomicBool,
}

impl Trace {
    fn new(resolver: u64) -> Self {
        Self {
            resolver,
            asked: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            withheld: AtomicBool::new(false),
            signed: OnceLock::new(),
            renegotiates: AtomicBool::new(false),
            awaited: AtomicBool::new(true),
        }
    }

    /// Whether the server asked for a certificate. It may not have been verified.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The version of TLS in which the client signed: the server was verified, and the certificate is sent.
    pub(crate) fn signed(&self) -> Option<ProtocolVersion> {
        self.signed.get().copied()
    }

    /// Whether the client answered the server, which was verified, within a handshake of TLS 1.2.
    pub(crate) fn was_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether the server wants to renegotiate, in TLS 1.2.
    pub(crate) fn renegotiates(&self) -> bool {
        self.renegotiates.load(Ordering::Acquire)
    }

    /// Notes whether a response is awaited.
    pub(crate) fn note_awaited(&self, is_awaited: bool) {
        self.awaited.store(is_awaited, Ordering::Release);
    }

    /// The trace of the connection whose bytes are being processed, if it is a connection of this resolver.
    pub(crate) fn current(resolver: u64) -> Option<Arc<Self>> {
        READ_LAST.with_borrow(|trace| trace.clone()).filter(|trace| trace.resolver == resolver)
    }

    pub(crate) fn note_asked(&self) {
        self.asked.store(true, Ordering::Release);
    }

    pub(crate) fn note_signed(&self, version: ProtocolVersion) {
        // A client signs once for a connection
        let _ = self.signed.set(version);
    }

    pub(crate) fn withhold(&self) {
        self.withheld.store(true, Ordering::Release);
    }
}

/// The byte stream below a TLS session. It writes nothing once a signature was withheld. Made by [`crate::raw::Resolver::guard`].
#[derive(Debug)]
#[must_use = "put it below a TLS session"]
pub struct Guarded<S> {
    stream: S,
    trace: Arc<Trace>,
    written: Records,
    received: Records,
    /// How far the server's handshake is, by its records.
    progress: Progress,
}

/// How far the server's side of a handshake of TLS 1.2 is. What comes after its change_cipher_spec is encrypted, but the types
/// of the records are not. In TLS 1.3 they are: there the records after the ServerHello are application data by their type.
#[derive(Clone, Copy, Debug, Default)]
enum Progress {
    #[default]
    Handshake,
    /// Its change_cipher_spec has come, and its Finished is next. After a HelloRetryRequest of TLS 1.3, it is the ServerHello.
    CipherChanged,
    Finished,
}

impl<S> Guarded<S> {
    pub(crate) fn new(stream: S, resolver: u64) -> Self {
        Self {
            stream,
            trace: Arc::new(Trace::new(resolver)),
            written: Records::default(),
            received: Records::default(),
            progress: Progress::default(),
        }
    }

    /// Whether the server asked for a certificate. It may not have been verified.
    pub fn was_asked(&self) -> bool {
        self.trace.was_asked()
    }

    /// The version of TLS in which the client signed for an identity: the server was verified, and the certificate is sent.
    pub fn signed(&self) -> Option<ProtocolVersion> {
        self.trace.signed()
    }

    /// Whether the client answered the server, which was verified, within a handshake of TLS 1.2. In TLS 1.3 the handshake is
    /// over for the client once it has answered.
    pub fn was_answered(&self) -> bool {
        self.trace.was_answered()
    }

    /// Whether the server wants to renegotiate, in TLS 1.2. rustls does not.
    pub fn renegotiates(&self) -> bool {
        self.trace.renegotiates()
    }

    /// What is known of the connection, now and later.
    pub(crate) fn trace(&self) -> Arc<Trace> {
        self.trace.clone()
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside, to be changed but neither read nor written.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream inside, about to be read.
    ///
    /// # Errors
    /// `InvalidData` when the server wants to renegotiate in place of a response.
    pub(crate) fn reading(&mut self) -> io::Result<&mut S> {
        if self.trace.renegotiates() && self.trace.awaited.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, renegotiation()));
        }
        Ok(&mut self.stream)
    }

    /// Notes these bytes, which were read. To be called after every read, whatever came of it: the stream inside may be a TLS
    /// session with a proxy, over a stream that leaves its own trace.
    pub(crate) fn note_read(&mut self, bytes: &[u8]) {
        READ_LAST.with_borrow_mut(|last| *last = Some(self.trace.clone()));
        let (progress, trace) = (&mut self.progress, &self.trace);
        self.received.follow(bytes, |record| {
            *progress = match (record, *progress) {
                (Records::CHANGE_CIPHER_SPEC, Progress::Handshake) => Progress::CipherChanged,
                (Records::HANDSHAKE, Progress::CipherChanged) => Progress::Finished,
                (Records::HANDSHAKE, Progress::Finished) => {
                    trace.renegotiates.store(true, Ordering::Release);
                    Progress::Finished
                }
                (_, same) => same,
            };
        });
    }

    /// The stream inside, about to be written.
    ///
    /// # Errors
    /// `ConnectionAborted` when the signature failed.
    pub(crate) fn writing(&mut self) -> io::Result<&mut S> {
        if self.trace.withheld.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nothing is sent without a decision"));
        }
        Ok(&mut self.stream)
    }

    /// Notes what was written of these parts.
    pub(crate) fn written(&mut self, done: io::Result<usize>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut left = *done.as_ref().unwrap_or(&0);
        for part in parts {
            let (written, _) = part.split_at(left.min(part.len()));
            left -= written.len();
            let trace = &self.trace;
            self.written.follow(written, |record| {
                if record == Records::HANDSHAKE && trace.was_asked() {
                    trace.answered.store(true, Ordering::Release);
                }
            });
        }
        done
    }
}

/// The error of a connection whose server wants to renegotiate.
fn renegotiation() -> rustls::Error {
    rustls::Error::InappropriateHandshakeMessage { expect_types: Vec::new(), got_type: HandshakeType::HelloRequest }
}

/// The records in one direction (RFC 8446 section 5.1), as far as their types say something.
///
/// A client that was asked writes a handshake record in the clear only in TLS 1.2, and only to a verified server. In TLS 1.3
/// everything is encrypted by then, except a change_cipher_spec without meaning, which is sent before the server is verified
/// (appendix D.4), and an alert to a server that cannot be verified.
#[derive(Debug, Default)]
struct Records {
    /// How many bytes of a header have been written.
    header: usize,
    /// The first byte of the length in it.
    length: u8,
    /// Bytes of the record that are still to come.
    left: usize,
}

impl Records {
    /// The content type of a change_cipher_spec.
    const CHANGE_CIPHER_SPEC: u8 = 20;

    /// The content type of a handshake record.
    const HANDSHAKE: u8 = 22;

    /// Content type, version, length.
    const HEADER: usize = 5;

    /// Follows the bytes, and passes on the content type of each record that begins in them.
    fn follow(&mut self, mut bytes: &[u8], mut begins: impl FnMut(u8)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                (_, bytes) = bytes.split_at(skipped);
                continue;
            }
            match self.header {
                0 => begins(byte),
                3 => self.length = byte,
                4 => self.left = usize::from(u16::from_be_bytes([self.length, byte])),
                _ => {}
            }
            self.header = (self.header + 1) % Self::HEADER;
            bytes = rest;
        }
    }
}

impl<S: Read> Read for Guarded<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let done = self.reading()?.read(buffer);
        self.note_read(buffer.get(..*done.as_ref().unwrap_or(&0)).unwrap_or_default());
        done
    }
}

impl<S: Write> Write for Guarded<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let done = self.writing()?.write(data);
        self.written(done, &[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        let done = self.writing()?.write_vectored(data);
        self.written(done, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writing()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_nested_streams_the_outer_one_was_read_last() {
        let mut outer = Guarded::new(Guarded::new(&b"bytes"[..], 1), 2);
        assert_eq!(outer.read(&mut [0; 8]).unwrap(), 5);
        assert!(Trace::current(2).is_some());
        assert!(Trace::current(1).is_none());
    }
    /// Whether these bytes, written after a client hello and after the server asked, are an answer.
    fn is_answer(after: &[&[u8]]) -> bool {
        let mut traced = Guarded::new(Vec::new(), 0);
        traced.write_all(&[22, 3, 1, 0, 2, 22, 22]).unwrap();
        traced.trace.note_asked();
        after.iter().for_each(|bytes| traced.write_all(bytes).unwrap());
        traced.trace.was_answered()
    }

    #[test]
    fn only_a_handshake_record_in_the_clear_is_an_answer() {
        let (change, alert) = ([20, 3, 3, 0, 1, 1], [21, 3, 3, 0, 2, 2, 22]);
        let encrypted = [23, 3, 3, 0, 3, 22, 22, 22];
        let certificate = [22, 3, 3, 0, 1, 0];
        let cases: [(&[&[u8]], bool); 9] = [
            (&[], false),
            (&[&change], false),
            (&[&change[..3], &change[3..]], false),
            (&[&alert], false),
            (&[&change, &encrypted], false),
            (&[&[&change[..], &encrypted[..6]].concat(), &encrypted[6..]], false),
            (&[&certificate], true),
            (&[&certificate[..1]], true),
            (&[&[&change[..], &certificate[..]].concat()], true),
        ];
        for (after, expected) in cases {
            assert_eq!(is_answer(after), expected, "{after:?}");
        }
    }

    /// Reads these records of a server, and returns whether it wants to renegotiate.
    fn renegotiates(records: &[u8], piece: usize) -> bool {
        let mut traced = Guarded::new(io::Cursor::new(records), 0);
        while matches!(traced.read(&mut vec![0; piece]), Ok(1..)) {}
        traced.renegotiates()
    }

    #[test]
    fn a_handshake_record_after_the_handshake_asks_for_a_renegotiation() {
        let (change, data, alert) = ([20, 3, 3, 0, 1, 1], [23, 3, 3, 0, 2, 22, 22], [21, 3, 3, 0, 2, 1, 22]);
        let handshake = [22, 3, 3, 0, 3, 20, 22, 22];
        let cases: [(&[&[u8]], bool); 7] = [
            (&[&handshake, &handshake, &change, &handshake], false),
            (&[&handshake, &handshake, &change, &handshake, &data, &alert], false),
            (&[&handshake, &handshake, &change, &handshake, &handshake], true),
            (&[&handshake, &change, &handshake, &data, &handshake[..1]], true),
            // TLS 1.3, and with a HelloRetryRequest
            (&[&handshake, &change, &data, &data], false),
            (&[&handshake, &change, &handshake, &data, &data], false),
            (&[], false),
        ];
        for (records, expected) in cases {
            let records = records.concat();
            for piece in 1..=records.len().max(1) {
                assert_eq!(renegotiates(&records, piece), expected, "{records:?}");
            }
        }
    }

    #[test]
    fn reading_ends_at_a_renegotiation_unless_a_response_has_begun() {
        let handshake = [22, 3, 3, 0, 1, 0];
        let records = [&[20, 3, 3, 0, 1, 1][..], &handshake, &handshake, &[23, 3, 3, 0, 1, 0]].concat();
        for awaited in [true, false] {
            let mut traced = Guarded::new(io::Cursor::new(&records), 0);
            traced.trace.note_awaited(awaited);
            let mut all = Vec::new();
            let mut piece = [0; 6];
            let ended = loop {
                match traced.read(&mut piece) {
                    Ok(0) => break Ok(()),
                    Ok(read) => all.extend_from_slice(&piece[..read]),
                    Err(error) => break Err(error),
                }
            };
            assert_eq!(all.len(), if awaited { 18 } else { records.len() });
            let error = ended.err().and_then(|error| error.downcast::<rustls::Error>().ok());
            assert_eq!(error, awaited.then(renegotiation));
        }
    }

    #[test]
    fn bytes_that_were_not_written_are_no_answer() {
        let mut full: [u8; 6] = [0; 6];
        let mut traced = Guarded::new(&mut full[..], 0);
        traced.trace.note_asked();
        let parts = [&[20, 3, 3, 0, 1, 1][..], &[22, 3, 3]].map(IoSlice::new);
        assert_eq!(traced.write_vectored(&parts).unwrap(), 6);
        assert!(!traced.trace.was_answered());
    }
}
