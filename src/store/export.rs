//! Identities as files.

use super::authorities::cached_authorities;
use super::handle::Store;
use crate::certificate::identity::Identity;
use crate::error::Error;
use crate::file::pkcs12;
use crate::vault::Unlocker;

impl Store {
    /// Writes an identity as a PKCS#12 file, with the CA certificates above it that the store has: AES-256-CBC, PBKDF2 and a MAC
    /// with HMAC-SHA-256, 150,000 rounds each. `unlocker` unlocks the vault first.
    ///
    /// # Errors
    /// Those of [`Self::private_key`]; [`file::Error::Writing`](crate::file::Error::Writing).
    pub fn export(&self, identity: &Identity, password: &str, unlocker: &dyn Unlocker) -> Result<Vec<u8>, Error> {
        self.export_with(identity, password, pkcs12::Protection::Aes256, unlocker)
    }

    /// [`Self::export`] for programs that cannot read such a file, such as Windows before 10, older versions of macOS, and
    /// Java 8: three-key 3DES and a MAC with SHA-1, 50,000 rounds each.
    ///
    /// # Errors
    /// Those of [`Self::export`].
    pub fn export_legacy(
        &self,
        identity: &Identity,
        password: &str,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        self.export_with(identity, password, pkcs12::Protection::Legacy, unlocker)
    }

    fn export_with(
        &self,
        identity: &Identity,
        password: &str,
        protection: pkcs12::Protection,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        let key = self.private_key(identity, unlocker)?;
        let chain = self.cached(cached_authorities)?.chain(identity.certificate(), None);
        let chain: Vec<&[u8]> = chain.authorities.iter().map(|authority| authority.certificate.der()).collect();
        let entry = pkcs12::Entry {
            pkcs8: &key,
            certificate: identity.certificate().der(),
            chain: &chain,
            friendly_name: identity.name(),
        };
        Ok(pkcs12::write(&entry, password, protection)?)
    }
}
