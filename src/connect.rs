//! Connectors: the two-phase handshake carried out, for one kind of client each.

#[cfg(feature = "tokio")]
pub mod tokio;
