//! A local socket whose other end is a TLS server.

pub(crate) mod listen;
pub(crate) mod relay;
