//! HTTP with client certificates.

pub(crate) mod body;
pub(crate) mod dial;
pub(crate) mod exchange;
pub(crate) mod message;
pub(crate) mod mid_connection;
#[cfg_attr(not(feature = "openssl"), path = "http/openssl/absent.rs")]
pub(crate) mod openssl;
pub(crate) mod outcome;
pub(crate) mod probe;
pub(crate) mod verify;
