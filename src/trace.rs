//! What happened on one connection: whether its server asked, whether we signed, and that nothing goes out after we did
//! not.
//!
//! A resolver serves many connections and is told of none, but rustls resolves and signs while it works through bytes
//! that were just read, on the thread that read them. So the stream under the TLS session leaves its trace with the
//! thread when it was read, and the resolver and its keys find it there.
//!
//! In TLS 1.2 rustls puts the client's Certificate and ClientKeyExchange into its buffer before it asks for the
//! signature, and whoever drives it writes the buffer out even when the signature fails. A [`Traced`] stream writes
//! nothing more then.
//!
//! All records of a flight go out in one write, as rustls hands them over. One by one, a server that refuses the first
//! of them could hang up before the last is written, and its alert would be lost in a broken pipe.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::ProtocolVersion;

thread_local! {
    /// The connection whose bytes were read last on this thread.
    static READ_LAST: RefCell<Option<Arc<Trace>>> = const { RefCell::new(None) };
}

/// What is known of one connection.
#[derive(Debug)]
pub struct Trace {
    /// The resolver of the connection; another's doings are not noted.
    resolver: u64,
    asked: AtomicBool,
    written_since: AtomicBool,
    withheld: AtomicBool,
    signed: OnceLock<ProtocolVersion>,
}

impl Trace {
    /// Whether the server asked for a certificate. It may not have been verified.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The version of TLS in which we signed for an identity: the server was verified, and the certificate goes out.
    pub fn signed(&self) -> Option<ProtocolVersion> {
        self.signed.get().copied()
    }

    /// Whether anything went out after the server had asked.
    pub fn was_answered(&self) -> bool {
        self.was_asked() && self.written_since.load(Ordering::Acquire)
    }

    /// The trace of the connection whose bytes are being worked through, if it is one of this resolver.
    pub(crate) fn current(resolver: u64) -> Option<Arc<Self>> {
        READ_LAST.with_borrow(|trace| trace.clone()).filter(|trace| trace.resolver == resolver)
    }

    pub(crate) fn note_asked(&self) {
        self.asked.store(true, Ordering::Release);
    }

    pub(crate) fn note_signed(&self, version: ProtocolVersion) {
        // A connection signs but once
        let _ = self.signed.set(version);
    }

    pub(crate) fn withhold(&self) {
        self.withheld.store(true, Ordering::Release);
    }
}

/// The byte stream under a TLS session. Made by [`crate::resolver::Resolver::trace`].
#[derive(Debug)]
pub struct Traced<S> {
    stream: S,
    trace: Arc<Trace>,
}

impl<S> Traced<S> {
    pub(crate) fn new(stream: S, resolver: u64) -> Self {
        let trace = Trace {
            resolver,
            asked: AtomicBool::new(false),
            written_since: AtomicBool::new(false),
            withheld: AtomicBool::new(false),
            signed: OnceLock::new(),
        };
        Self { stream, trace: Arc::new(trace) }
    }

    /// What is known of the connection, now and later.
    pub fn trace(&self) -> Arc<Trace> {
        self.trace.clone()
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside, to be changed but neither read nor written.
    #[cfg(feature = "tokio")]
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads from the stream inside.
    pub(crate) fn reading<T>(&mut self, read: impl FnOnce(&mut S) -> T) -> T {
        let done = read(&mut self.stream);
        // Afterwards: what is inside may be a TLS session itself, with a proxy, over a stream that leaves its own trace
        READ_LAST.with_borrow_mut(|last| *last = Some(self.trace.clone()));
        done
    }

    /// The stream inside, about to be written.
    ///
    /// # Errors
    /// `ConnectionAborted` when the signature failed.
    pub(crate) fn writing(&mut self) -> io::Result<&mut S> {
        if self.trace.withheld.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nothing is sent without a decision"));
        }
        if self.trace.was_asked() {
            self.trace.written_since.store(true, Ordering::Release);
        }
        Ok(&mut self.stream)
    }
}

impl<S: Read> Read for Traced<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reading(|stream| stream.read(buffer))
    }
}

impl<S: Write> Write for Traced<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.writing()?.write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writing()?.write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writing()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_streams_one_in_the_other_the_outer_one_was_read_last() {
        let mut outer = Traced::new(Traced::new(&b"bytes"[..], 1), 2);
        assert_eq!(outer.read(&mut [0; 8]).unwrap(), 5);
        assert!(Trace::current(2).is_some());
        assert!(Trace::current(1).is_none());
    }
}
