//! HTTP with client certificates. Each file uses only those above it.

pub(crate) mod stream;

pub(crate) mod body;

pub(crate) mod location;

pub(crate) mod message;

pub(crate) mod tls_only;

pub(crate) mod verify;

pub(crate) mod outcome;

pub(crate) mod mid_connection;

pub(crate) mod dial;

pub(crate) mod probe;

pub(crate) mod proxy;

pub(crate) mod route;

pub(crate) mod exchange;

#[cfg(feature = "openssl")]
pub(crate) mod openssl;

pub(crate) mod client;
