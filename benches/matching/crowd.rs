//! Many identities.

use cardcase::Store;
use rcgen::{KeyPair, SerialNumber};

use super::pki::{Ca, Leaf, NOW, import, params};

/// Identities in one import, so that a hundred thousand of them are never in memory at once.
const BATCH: usize = 1000;

/// CA certificates under one root.
pub(crate) struct Authorities {
    pub(crate) root: Ca,
    pub(crate) issuers: Vec<Ca>,
}

impl Authorities {
    pub(crate) fn new(issuers: usize) -> Self {
        let root = Ca::root("Root");
        let issuers = (0..issuers).map(|number| root.intermediate(&format!("Issuer {number}"))).collect();
        Self { root, issuers }
    }

    /// Imports these CA certificates, and identities that they issue in turn. The identities share a key: only their
    /// certificates are looked at.
    pub(crate) fn fill(&self, store: &Store, identities: usize) {
        let authorities = self.issuers.iter().chain([&self.root]).map(|ca| &ca.certificate);
        store.import(vec![import([], authorities)], None, NOW).unwrap();
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut leaves = self.issuers.iter().cycle().zip(1..=identities).map(|(issuer, number)| {
            let mut params = params(&format!("Person {number}"));
            params.serial_number = Some(SerialNumber::from(number as u64));
            Leaf { certificate: issuer.sign(params, &key), pkcs8: key.serialize_der() }
        });
        loop {
            let batch: Vec<Leaf> = leaves.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            store.import(vec![import(&batch, [])], None, NOW).unwrap();
        }
    }
}
