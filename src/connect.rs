//! Connectors: the two-phase handshake carried out, for one kind of client each.

#[cfg(feature = "openssl")]
pub mod openssl;
#[cfg(feature = "tokio")]
mod question;
#[cfg(feature = "tokio")]
pub mod tokio;

use rustls::pki_types::ServerName;

use crate::error::Error;
use crate::request::Destination;

/// The name to verify the server by; an address without its zone, which no certificate holds.
///
/// # Errors
/// [`Error::Destination`] when a certificate cannot hold such a name.
pub fn server_name(destination: &Destination) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(destination.host_without_zone().to_owned())
        .map_err(|error| Error::Destination { text: destination.to_string(), reason: error.to_string() })
}
