//! Identities as files.

use std::collections::HashSet;

use super::authorities::cached_authorities;
use super::handle::Store;
use crate::certificate::identity::Identity;
use crate::error::Error;
use crate::file::pkcs12;
use crate::vault::Unlocker;

impl Store {
    /// Writes identities as one PKCS#12 file, with the CA certificates above them that the store has: AES-256-CBC, PBKDF2 and a MAC
    /// with HMAC-SHA-256, 150,000 rounds each. `unlocker` unlocks the vault first.
    ///
    /// Each private key has a derivation of its own, so the time to write and to read the file grows with the identities. More than 1,300
    /// are refused, because [`file::read`](crate::file::read) would refuse the file.
    ///
    /// # Errors
    /// Those of [`Self::private_key`]; [`file::Error::Writing`](crate::file::Error::Writing).
    pub fn export(&self, identities: &[Identity], password: &str, unlocker: &dyn Unlocker) -> Result<Vec<u8>, Error> {
        self.export_with(identities, password, pkcs12::Protection::Aes256, unlocker)
    }

    /// [`Self::export`] for programs that cannot read such a file, such as Windows before 10, older versions of macOS, and
    /// Java 8: three-key 3DES and a MAC with SHA-1, 50,000 rounds each.
    ///
    /// # Errors
    /// Those of [`Self::export`].
    pub fn export_legacy(
        &self,
        identities: &[Identity],
        password: &str,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        self.export_with(identities, password, pkcs12::Protection::Legacy, unlocker)
    }

    fn export_with(
        &self,
        identities: &[Identity],
        password: &str,
        protection: pkcs12::Protection,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        let keys = identities.iter().map(|identity| self.private_key(identity, unlocker));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let authorities = self.cached(cached_authorities)?;
        let (mut chains, mut seen) = (Vec::new(), HashSet::new());
        for identity in identities {
            let chain = authorities.chain(identity.certificate(), None).authorities.into_iter();
            chains.extend(chain.filter(|authority| seen.insert(authority.certificate.fingerprint())));
        }
        let entries: Vec<pkcs12::Entry<'_>> = identities
            .iter()
            .zip(&keys)
            .map(|(identity, key)| pkcs12::Entry {
                pkcs8: key,
                certificate: identity.certificate().der(),
                friendly_name: identity.name(),
            })
            .collect();
        let chain: Vec<&[u8]> = chains.iter().map(|authority| authority.certificate.der()).collect();
        Ok(pkcs12::write(&entries, &chain, password, protection)?)
    }
}
