//! Sessions, and what is under way in them: a search, a signature, a digest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cardcase::Identity;
use cryptoki_sys::*;

use super::code::Result;
use super::mechanism::{Digest, Hash, Mechanism, signature_size};
use super::object::Object;
use super::signing::{Order, Refusals};
use super::slot::Slot;
use super::token::Token;

/// Everything of a process that has initialized the module.
pub(crate) struct Module {
    pub(crate) token: Token,
    sessions: HashMap<CK_SESSION_HANDLE, Session>,
    /// Whether a program has logged in. Nothing depends on it: there is nothing to log in to.
    is_logged_in: bool,
    refusals: Arc<Refusals>,
}

struct Session {
    slot: Slot,
    flags: CK_FLAGS,
    search: Option<std::vec::IntoIter<CK_OBJECT_HANDLE>>,
    signature: Option<Signature>,
    digest: Option<Digest>,
}

/// A signature of which the message is not whole yet.
struct Signature {
    identity: Arc<Identity>,
    mechanism: Mechanism,
    message: Vec<u8>,
}

/// The next handle. None is used twice in a process, nor in those that it forks.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The most that is kept of a message, in bytes. No handshake is longer.
const MAX_MESSAGE: usize = 16 << 20;

impl Module {
    pub(crate) fn new() -> Self {
        Self { token: Token::new(), sessions: HashMap::new(), is_logged_in: false, refusals: Arc::default() }
    }

    /// The slot with this number.
    pub(crate) fn slot(&mut self, id: CK_SLOT_ID) -> Result<Slot> {
        let slot = Slot::from_id(id).ok_or(CKR_SLOT_ID_INVALID)?;
        if slot == Slot::Ed25519 {
            self.token.read();
        }
        if self.token.slots().contains(&slot) { Ok(slot) } else { Err(CKR_SLOT_ID_INVALID) }
    }

    /// Opens a session, also one for writing: OpenSSH opens no others, although it only signs.
    pub(crate) fn open(&mut self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE> {
        let slot = self.slot(slot)?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        }
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        self.sessions.insert(handle, Session { slot, flags, search: None, signature: None, digest: None });
        Ok(handle)
    }

    pub(crate) fn close(&mut self, session: CK_SESSION_HANDLE) -> Result<()> {
        self.sessions.remove(&session).ok_or(CKR_SESSION_HANDLE_INVALID)?;
        self.is_logged_in &= !self.sessions.is_empty();
        Ok(())
    }

    pub(crate) fn close_all(&mut self, slot: CK_SLOT_ID) -> Result<()> {
        let slot = self.slot(slot)?;
        self.sessions.retain(|_, session| session.slot != slot);
        self.is_logged_in &= !self.sessions.is_empty();
        Ok(())
    }

    pub(crate) fn info(&mut self, session: CK_SESSION_HANDLE) -> Result<CK_SESSION_INFO> {
        let is_logged_in = self.is_logged_in;
        let Session { slot, flags, .. } = self.session(session)?;
        let state = match (*flags & CKF_RW_SESSION != 0, is_logged_in) {
            (false, false) => CKS_RO_PUBLIC_SESSION,
            (false, true) => CKS_RO_USER_FUNCTIONS,
            (true, false) => CKS_RW_PUBLIC_SESSION,
            (true, true) => CKS_RW_USER_FUNCTIONS,
        };
        Ok(CK_SESSION_INFO { slotID: slot.id(), state, flags: *flags, ulDeviceError: 0 })
    }

    /// Some programs log in although no token asks for it. Whatever PIN they give is right.
    pub(crate) fn log_in(&mut self, session: CK_SESSION_HANDLE, user: CK_USER_TYPE) -> Result<()> {
        let session = self.session(session)?;
        match user {
            CKU_USER => self.is_logged_in = true,
            CKU_CONTEXT_SPECIFIC if session.signature.is_some() => {}
            CKU_CONTEXT_SPECIFIC => return Err(CKR_OPERATION_NOT_INITIALIZED),
            _ => return Err(CKR_USER_TYPE_INVALID),
        }
        Ok(())
    }

    pub(crate) fn log_out(&mut self, session: CK_SESSION_HANDLE) -> Result<()> {
        self.session(session)?;
        if std::mem::take(&mut self.is_logged_in) { Ok(()) } else { Err(CKR_USER_NOT_LOGGED_IN) }
    }

    pub(crate) fn object(&mut self, session: CK_SESSION_HANDLE, handle: CK_OBJECT_HANDLE) -> Result<&Object> {
        let slot = self.session(session)?.slot;
        self.token.object(slot, handle).ok_or(CKR_OBJECT_HANDLE_INVALID)
    }

    pub(crate) fn begin_search(
        &mut self,
        session: CK_SESSION_HANDLE,
        template: &[(CK_ATTRIBUTE_TYPE, Vec<u8>)],
    ) -> Result<()> {
        let Session { slot, search, .. } = self.session(session)?;
        let slot = *slot;
        if search.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        self.token.refresh()?;
        let found = self.token.find(slot, template);
        self.session(session)?.search = Some(found.into_iter());
        Ok(())
    }

    /// At most so many of the objects that were not returned yet.
    pub(crate) fn search(&mut self, session: CK_SESSION_HANDLE, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let search = self.session(session)?.search.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        Ok(search.by_ref().take(most).collect())
    }

    pub(crate) fn end_search(&mut self, session: CK_SESSION_HANDLE) -> Result<()> {
        self.session(session)?.search.take().map(drop).ok_or(CKR_OPERATION_NOT_INITIALIZED)
    }

    pub(crate) fn begin_signature(
        &mut self,
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        mechanism: Mechanism,
    ) -> Result<()> {
        let Session { slot, signature, .. } = self.session(session)?;
        let slot = *slot;
        if signature.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        let object = self.token.object(slot, key).ok_or(CKR_KEY_HANDLE_INVALID)?;
        let identity = object.private_key().ok_or(CKR_KEY_FUNCTION_NOT_PERMITTED)?.clone();
        if !mechanism.fits(identity.certificate().key()) {
            return Err(CKR_KEY_TYPE_INCONSISTENT);
        }
        self.session(session)?.signature = Some(Signature { identity, mechanism, message: Vec::new() });
        Ok(())
    }

    /// PKCS#11 3.0: `C_SignInit` without a mechanism.
    pub(crate) fn cancel_signature(&mut self, session: CK_SESSION_HANDLE) -> Result<()> {
        self.session(session)?.signature = None;
        Ok(())
    }

    pub(crate) fn signature_size(&mut self, session: CK_SESSION_HANDLE) -> Result<usize> {
        let signature = self.session(session)?.signature.as_ref().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        signature_size(signature.identity.certificate().key()).ok_or(CKR_KEY_TYPE_INCONSISTENT)
    }

    pub(crate) fn add_to_message(&mut self, session: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        let active = &mut self.session(session)?.signature;
        let Signature { message, .. } = active.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        if part.len() > MAX_MESSAGE.saturating_sub(message.len()) {
            *active = None;
            return Err(CKR_DATA_LEN_RANGE);
        }
        message.extend(part);
        Ok(())
    }

    /// What is to be signed. The signature is no longer under way, whatever becomes of it: programs rely on that, and begin anew.
    pub(crate) fn end_signature(&mut self, session: CK_SESSION_HANDLE, part: &[u8]) -> Result<Order> {
        self.add_to_message(session, part)?;
        let Signature { identity, mechanism, message } =
            self.session(session)?.signature.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        let store = self.token.store().ok_or(CKR_DEVICE_REMOVED)?.clone();
        Ok(Order { store: Some(store), refusals: self.refusals.clone(), identity, mechanism, message })
    }

    pub(crate) fn begin_digest(&mut self, session: CK_SESSION_HANDLE, hash: Hash) -> Result<()> {
        let digest = &mut self.session(session)?.digest;
        if digest.is_some() {
            return Err(CKR_OPERATION_ACTIVE);
        }
        *digest = Some(hash.begin());
        Ok(())
    }

    pub(crate) fn add_to_digest(&mut self, session: CK_SESSION_HANDLE, part: &[u8]) -> Result<()> {
        self.digest(session)?.update(part);
        Ok(())
    }

    pub(crate) fn digest_size(&mut self, session: CK_SESSION_HANDLE) -> Result<usize> {
        Ok(self.digest(session)?.output_size())
    }

    pub(crate) fn end_digest(&mut self, session: CK_SESSION_HANDLE, part: &[u8]) -> Result<Vec<u8>> {
        self.add_to_digest(session, part)?;
        let digest = self.session(session)?.digest.take().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
        Ok(digest.finalize().into_vec())
    }

    fn digest(&mut self, session: CK_SESSION_HANDLE) -> Result<&mut Digest> {
        self.session(session)?.digest.as_mut().ok_or(CKR_OPERATION_NOT_INITIALIZED)
    }

    fn session(&mut self, handle: CK_SESSION_HANDLE) -> Result<&mut Session> {
        self.sessions.get_mut(&handle).ok_or(CKR_SESSION_HANDLE_INVALID)
    }
}
