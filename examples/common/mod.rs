//! What the examples have in common: the user's store, without anybody to ask, and the system's roots.

use std::error::Error;
use std::sync::Arc;

use cardcase::{Selector, Store};
use rustls::{ClientConfig, RootCertStore};

/// Selects from the user's store, as `cardcase remember` or a rule says. A program with a window adds its own `Chooser` with
/// `with_chooser`.
pub(crate) fn selector() -> Result<Arc<Selector>, Box<dyn Error + Send + Sync>> {
    let store = Store::open_default()?;
    Ok(Arc::new(Selector::new(Arc::new(store))))
}

/// Verifies servers by the system's roots.
pub(crate) fn config(alpn: &[&str]) -> Result<ClientConfig, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}
