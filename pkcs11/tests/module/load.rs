//! Loads the module, and calls it as a program does.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// The functions of a loaded module.
pub struct Module {
    library: Option<Library>,
    pub functions: *mut CK_FUNCTION_LIST,
}

// What every module promises, if it is initialized so
unsafe impl Sync for Module {}
unsafe impl Send for Module {}

/// Calls a function by its name, and gives its code.
macro_rules! call {
    ($module:expr, $function:ident($($argument:expr),* $(,)?)) => {
        unsafe { (*$module.functions).$function.unwrap()($($argument),*) }
    };
}
pub(crate) use call;

impl Module {
    pub fn load(path: &Path) -> Self {
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.unwrap();
        let mut functions = null_mut();
        type Get = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
        let get = unsafe { library.get::<Get>(b"C_GetFunctionList\0") }.unwrap();
        assert_eq!(unsafe { get(&raw mut functions) }, CKR_OK);
        Self { library: Some(library), functions }
    }

    /// Unloads it, as far as the system does.
    pub fn close(mut self) {
        self.library.take().unwrap().close().unwrap();
    }

    pub fn initialize(&self) -> CK_RV {
        let mut arguments = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..Default::default() };
        call!(self, C_Initialize((&raw mut arguments).cast()))
    }

    pub fn finalize(&self) -> CK_RV {
        call!(self, C_Finalize(null_mut()))
    }

    pub fn try_session(&self, slot: CK_SLOT_ID) -> Result<CK_SESSION_HANDLE, CK_RV> {
        let mut session = 0;
        let code = call!(self, C_OpenSession(slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session));
        if code == CKR_OK { Ok(session) } else { Err(code) }
    }

    pub fn session(&self, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        self.try_session(slot).unwrap()
    }

    /// The objects that have these attributes.
    pub fn try_find(
        &self,
        session: CK_SESSION_HANDLE,
        wanted: &[(CK_ATTRIBUTE_TYPE, &[u8])],
    ) -> Result<Vec<CK_OBJECT_HANDLE>, CK_RV> {
        let mut template: Vec<CK_ATTRIBUTE> = wanted
            .iter()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.as_ptr().cast_mut().cast(),
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect();
        let code = call!(self, C_FindObjectsInit(session, template.as_mut_ptr(), template.len() as CK_ULONG));
        if code != CKR_OK {
            return Err(code);
        }
        let mut found = Vec::new();
        loop {
            let (mut some, mut count) = ([0; 7], 0);
            let code = call!(self, C_FindObjects(session, some.as_mut_ptr(), 7, &raw mut count));
            assert_eq!(code, CKR_OK);
            found.extend(&some[..count as usize]);
            if count == 0 {
                break;
            }
        }
        assert_eq!(call!(self, C_FindObjectsFinal(session)), CKR_OK);
        Ok(found)
    }

    pub fn find(&self, session: CK_SESSION_HANDLE, wanted: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Vec<CK_OBJECT_HANDLE> {
        self.try_find(session, wanted).unwrap()
    }

    /// The private key with this label.
    pub fn key(&self, session: CK_SESSION_HANDLE, label: &str) -> CK_OBJECT_HANDLE {
        let wanted = [(CKA_CLASS, &CKO_PRIVATE_KEY.to_ne_bytes()[..]), (CKA_LABEL, label.as_bytes())];
        let found = self.find(session, &wanted);
        assert_eq!(found.len(), 1, "{label}");
        found[0]
    }

    pub fn attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut asked = CK_ATTRIBUTE { type_: kind, pValue: null_mut(), ulValueLen: 0 };
        let code = call!(self, C_GetAttributeValue(session, object, &raw mut asked, 1));
        if code != CKR_OK {
            let is_of_object = [CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID].contains(&code);
            assert_eq!(asked.ulValueLen == CK_UNAVAILABLE_INFORMATION, is_of_object);
            return Err(code);
        }
        let mut value = vec![0_u8; asked.ulValueLen as usize];
        asked.pValue = value.as_mut_ptr().cast();
        assert_eq!(call!(self, C_GetAttributeValue(session, object, &raw mut asked, 1)), CKR_OK);
        assert_eq!(asked.ulValueLen as usize, value.len());
        Ok(value)
    }

    pub fn sign(
        &self,
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        mechanism: CK_MECHANISM_TYPE,
        data: &[u8],
    ) -> Result<Vec<u8>, CK_RV> {
        let mut mechanism = CK_MECHANISM { mechanism, pParameter: null_mut::<c_void>(), ulParameterLen: 0 };
        self.sign_by(session, key, &mut mechanism, data)
    }

    pub fn sign_by(
        &self,
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        mechanism: &mut CK_MECHANISM,
        data: &[u8],
    ) -> Result<Vec<u8>, CK_RV> {
        let code = call!(self, C_SignInit(session, mechanism, key));
        if code != CKR_OK {
            return Err(code);
        }
        let (mut signature, mut length) = (vec![0; 1024], 1024);
        let data = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
        let code = call!(self, C_Sign(session, data.0, data.1, signature.as_mut_ptr(), &raw mut length));
        if code != CKR_OK {
            return Err(code);
        }
        signature.truncate(length as usize);
        Ok(signature)
    }
}

/// What a TLS client signs in TLS 1.3 (RFC 8446 section 4.4.3).
pub fn tls13() -> Vec<u8> {
    [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0", &[7; 32]].concat()
}
