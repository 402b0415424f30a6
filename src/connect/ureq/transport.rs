//! A connection of an agent.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use ::ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport as UreqTransport, TransportAdapter};

use crate::answer::refusal::Refusal;
use crate::connect::error::Error;
use crate::connect::opened::Connection;
use crate::connect::refusal::http1_status;
use crate::connect::stream::Stream;
use crate::select::selector::Selector;

/// A connection of an agent.
pub struct Transport {
    buffers: LazyBuffers,
    selector: Arc<Selector>,
    connection: Connection<Stream<TransportAdapter>>,
}

impl Transport {
    pub(super) fn new(
        buffers: LazyBuffers,
        selector: Arc<Selector>,
        connection: Connection<Stream<TransportAdapter>>,
    ) -> Self {
        Self { buffers, selector, connection }
    }

    /// Whether another request may go out. If that is unknown, none may.
    fn may_be_reused(&self) -> bool {
        let opened = &self.connection.opened;
        opened.may_be_reused(&self.selector, opened.destination()).unwrap_or(false)
    }

    /// The error that ended the connection. If the server refused, records that, and adds the connection to the error.
    fn ended(&self, source: io::Error) -> io::Error {
        let opened = &self.connection.opened;
        opened.record_refusal(&self.selector);
        if opened.refusal().is_none() {
            return source;
        }
        let (kind, opened) = (source.kind(), Some(opened.clone()));
        io::Error::new(kind, Error::Request { source: source.into(), opened })
    }
}

impl UreqTransport for Transport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ::ureq::Error> {
        self.connection.stream.get_mut().set_timeout(timeout);
        let (output, _) = self.buffers.output().split_at(amount);
        let stream = &mut self.connection.stream;
        let written = stream.write_all(output).and_then(|()| stream.flush());
        Ok(written.map_err(|error| self.ended(error))?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ::ureq::Error> {
        self.connection.stream.get_mut().set_timeout(timeout);
        let read = self.connection.stream.read(self.buffers.input_append_buf());
        let read = read.map_err(|error| self.ended(error))?;
        if read == 0 && self.connection.opened.refusal().is_some() {
            return Err(self.ended(io::ErrorKind::UnexpectedEof.into()).into());
        }
        let received = self.buffers.input_append_buf().get(..read).unwrap_or_default();
        if http1_status(received).is_some_and(Refusal::may_come_with) {
            // The rest of a page that may refuse is no success either
            self.connection.opened.take_success();
        } else {
            self.connection.opened.record_success(&self.selector);
        }
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.may_be_reused() && self.connection.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("connection", &self.connection.opened).finish_non_exhaustive()
    }
}
