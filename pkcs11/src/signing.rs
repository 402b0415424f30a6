//! Signatures, all of which the agent of the store makes: no key comes into the process of a program.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cardcase::manage::ToSign;
use cardcase::{Error, Identity, Store};
use cryptoki_sys::*;

use super::code::{self, Result};
use super::fork;
use super::mechanism::{Mechanism, Request, in_form_of_pkcs11};
use super::unlock::unlock;

/// A signature to be made, without the lock on the module: others may sign meanwhile, and a person may be asked.
pub(crate) struct Order {
    /// `None` only while it is dropped.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) mechanism: Mechanism,
    pub(crate) message: Vec<u8>,
}

/// When a person last refused to unlock the store. Some programs ask at once again.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Option<Instant>>);

/// How long a refusal counts.
const REFUSED: Duration = Duration::from_secs(10);

impl Order {
    pub(crate) fn sign(mut self) -> Result<Vec<u8>> {
        let signed = self.store.as_ref().ok_or(CKR_GENERAL_ERROR).and_then(|store| self.sign_with(store));
        // It may be the last that has the store, which is then closed
        let store = self.store.take();
        fork::apart(|| drop(store));
        signed
    }

    fn sign_with(&self, store: &Store) -> Result<Vec<u8>> {
        let key = self.identity.certificate().key();
        let Request { scheme, is_digest, data } = self.mechanism.request(key, &self.message)?;
        let what = || if is_digest { ToSign::Digest(&data) } else { ToSign::Message(&data) };
        let sign = || fork::apart(|| store.sign_for_program(&self.identity, scheme, what()));
        let signature = match sign() {
            Err(Error::VaultLocked) => {
                self.refusals.unlock(store)?;
                sign()
            }
            signed => signed,
        };
        in_form_of_pkcs11(key, signature.map_err(|error| code::of_signing(&error))?)
    }
}

impl Refusals {
    /// Unlocks the store, which may ask a person. Other threads that sign wait for the answer.
    fn unlock(&self, store: &Store) -> Result<()> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have waited for the same answer
        if fork::apart(|| store.agent()).is_ok_and(|agent| agent.is_some_and(|agent| agent.serves)) {
            return Ok(());
        }
        if refused.is_some_and(|at| at.elapsed() < REFUSED) {
            return Err(CKR_FUNCTION_CANCELED);
        }
        *refused = if unlock(store.path()) { None } else { Some(Instant::now()) };
        if refused.is_none() { Ok(()) } else { Err(CKR_FUNCTION_CANCELED) }
    }
}
