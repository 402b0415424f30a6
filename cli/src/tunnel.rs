//! Forwarding connections from a local socket to a TLS server.

pub(crate) mod listen;
pub(crate) mod relay;
