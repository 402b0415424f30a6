//! HTTP with client certificates. Each file uses only those above it.

pub(crate) mod socket;

pub(crate) mod stream;

pub(crate) mod patience;

pub(crate) mod body;

pub(crate) mod decompress;

pub(crate) mod upload;

pub(crate) mod location;

mod login;

pub(crate) mod message;

pub(crate) mod verbose;

pub(crate) mod tls_only;

pub(crate) mod told;

pub(crate) mod provider;

pub(crate) mod verify;

pub(crate) mod outcome;

pub(crate) mod mid_connection;

pub(crate) mod incompatible;

pub(crate) mod dial;

#[cfg(feature = "openssl")]
pub(crate) mod openssl;

pub(crate) mod probe;

pub(crate) mod proxy;

pub(crate) mod route;

pub(crate) mod exchange;

pub(crate) mod asked;

pub(crate) mod client;
