//! A configuration that verifies servers with the roots of the system and the trusted authorities of a store.

use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

use crate::error::Error;
use crate::select::selector::Selector;

impl Selector {
    /// A configuration for rustls, without a client certificate, to begin with: for the connectors, and for
    /// [`connect::config`](crate::connect::config).
    ///
    /// It verifies servers with the roots of the system, as [`rustls_native_certs`] finds them (`SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// name others), and with the authorities that the store trusts at the time of the handshake, as [`Self::server_verifier`] does.
    /// From here on, this selector and its clones follow these authorities ([`Self::with_trusted_authorities`]).
    ///
    /// `builder` says which cryptography provider and which versions of TLS are used. `ClientConfig::builder()` panics if it finds no
    /// provider: this crate turns none on. Then use `ClientConfig::builder_with_provider`.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use cardcase::{Selector, Store};
    /// use rustls::ClientConfig;
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let selector = Selector::new(Store::open_default()?.into());
    /// let config = selector.client_config(ClientConfig::builder())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoRoots`] when the roots of the system cannot be read, and those of [`Self::with_trusted_authorities`].
    pub fn client_config(&self, builder: ConfigBuilder<ClientConfig, WantsVerifier>) -> Result<ClientConfig, Error> {
        self.read_anchors()?;
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty()
            && let Some(error) = found.errors.into_iter().next()
        {
            return Err(Error::NoRoots { source: error.into() });
        }
        let verifier = self.server_verifier(found.certs, builder.crypto_provider());
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}
