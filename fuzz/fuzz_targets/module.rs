//! Calls functions of the PKCS#11 module in any order, as a program does: with handles, attributes, mechanisms and lengths that the input
//! names. The store has two identities, and no agent, so nothing is signed.

#![no_main]

use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::LazyLock;

use cardcase::Store;
use cardcase::file;
use cardcase::manage::{Confirmation, Permission, Timestamp};
use cryptoki_sys::*;
use libfuzzer_sys::fuzz_target;

#[path = "../../pkcs11/src/lib.rs"]
mod module;

/// The functions of the module, over a store in memory.
static FUNCTIONS: LazyLock<CK_FUNCTION_LIST> = LazyLock::new(|| {
    let directory = PathBuf::from(format!("/dev/shm/cardcase-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("cardcase.db");
    // SAFETY: no other thread reads the environment yet. Without the command, nobody is asked to unlock
    unsafe {
        std::env::set_var("CARDCASE_STORE", &path);
        std::env::set_var("XDG_RUNTIME_DIR", &directory);
        std::env::set_var("HOME", &directory);
        std::env::remove_var("PATH");
    }
    let store = Store::open(path).unwrap();
    let files: [(&[u8], &str); 2] = [
        (include_bytes!("../../fixtures/identities/openssl.p12"), "cardcase"),
        (include_bytes!("../../fixtures/identities/keytool.p12"), "cardcase"),
    ];
    let imports = files.map(|(bytes, password)| file::read(bytes, password).unwrap()).into();
    for identity in store.import(imports, None, Timestamp::now()).unwrap().imported {
        store.permit(&identity, Permission::Any, Confirmation::Never).unwrap();
    }
    let mut list = null_mut();
    // SAFETY: the pointer can be written to, and the list is never changed
    unsafe {
        assert_eq!(module::C_GetFunctionList(&raw mut list), CKR_OK);
        *list
    }
});

/// The most that a call is given, in bytes.
const MOST: usize = 300;

/// The input, read from its beginning. At its end everything is zero.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number: mostly a small one, as handles are.
    fn number(&mut self) -> CK_ULONG {
        match self.byte() {
            255 => CK_UNAVAILABLE_INFORMATION,
            254 => (0..8).fold(0, |number, _| number << 8 | CK_ULONG::from(self.byte())),
            252..254 => CKA_MODULUS | CK_ULONG::from(self.byte()) << 4,
            small => small.into(),
        }
    }

    /// Memory of this size, so that the sanitizer sees what is beyond it.
    fn memory(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(MOST);
        (0..length).map(|_| self.byte()).collect()
    }
}

/// A pointer to memory, or none; what the program says of its length is true, except where there is no pointer.
fn pointer(memory: &mut [u8], input: &mut Input<'_>) -> (*mut u8, CK_ULONG) {
    match input.byte() {
        0..32 => (null_mut(), input.number()),
        _ => (memory.as_mut_ptr(), memory.len() as CK_ULONG),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let functions = &*FUNCTIONS;
    let mut input = Input(bytes);
    macro_rules! call {
        ($function:ident($($argument:expr),*)) => {{
            // SAFETY: each pointer is null, or to memory of the length that is given with it
            let code = unsafe { functions.$function.unwrap()($($argument),*) };
            // A panic that was caught
            assert_ne!(code, CKR_GENERAL_ERROR, stringify!($function));
        }};
    }
    call!(C_Initialize(null_mut()));
    let mut session = 0;
    call!(C_OpenSession(0, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session));
    while !input.0.is_empty() {
        let operation = input.byte();
        // Mostly the session that is open
        let handle = if input.byte() < 16 { input.number() } else { session };
        let (mut memory, mut other) = (input.memory(), input.memory());
        let (data, length) = pointer(&mut memory, &mut input);
        let (to, mut room) = pointer(&mut other, &mut input);
        let number = input.number();
        let mut mechanism = CK_MECHANISM { mechanism: number, pParameter: data.cast(), ulParameterLen: length };
        if data.is_null() {
            mechanism.ulParameterLen = 0;
        }
        let mut attributes = [
            CK_ATTRIBUTE { type_: number, pValue: data.cast(), ulValueLen: if data.is_null() { 0 } else { length } },
            CK_ATTRIBUTE { type_: input.number(), pValue: to.cast(), ulValueLen: if to.is_null() { 0 } else { room } },
        ];
        let count = CK_ULONG::from(input.byte() % 3);
        let key = input.number();
        match operation % 32 {
            0 => call!(C_CloseSession(handle)),
            1 => call!(C_OpenSession(number, input.number(), null_mut(), None, &raw mut session)),
            2 => call!(C_CloseAllSessions(number)),
            3 => call!(C_FindObjectsInit(handle, attributes.as_mut_ptr(), count)),
            4 => {
                let mut found = [0; 4];
                call!(C_FindObjects(handle, found.as_mut_ptr(), number % 5, &raw mut room));
            }
            5 => call!(C_FindObjectsFinal(handle)),
            6..10 => call!(C_GetAttributeValue(handle, key, attributes.as_mut_ptr(), count)),
            10..13 => call!(C_SignInit(handle, &raw mut mechanism, key)),
            13 => call!(C_SignInit(handle, null_mut(), key)),
            14 => call!(C_SignUpdate(handle, data, length)),
            15 => call!(C_Sign(handle, data, length, to, &raw mut room)),
            16 => call!(C_SignFinal(handle, to, &raw mut room)),
            17 => call!(C_DigestInit(handle, &raw mut mechanism)),
            18 => call!(C_DigestUpdate(handle, data, length)),
            19 => call!(C_Digest(handle, data, length, to, &raw mut room)),
            20 => call!(C_DigestFinal(handle, to, &raw mut room)),
            21 => call!(C_Login(handle, number, data, length)),
            22 => call!(C_Logout(handle)),
            23 => call!(C_GetSessionInfo(handle, &mut CK_SESSION_INFO::default())),
            24 => call!(C_GetMechanismInfo(key, number, &mut CK_MECHANISM_INFO::default())),
            25 => {
                let mut list = [0; 20];
                let mut few = number % 21;
                call!(C_GetMechanismList(key, list.as_mut_ptr(), &raw mut few));
            }
            26 => call!(C_GetTokenInfo(number, &mut CK_TOKEN_INFO::default())),
            27 => call!(C_GetSlotInfo(number, &mut CK_SLOT_INFO::default())),
            28 => {
                let mut list = [0; 3];
                let mut few = number % 4;
                call!(C_GetSlotList(1, list.as_mut_ptr(), &raw mut few));
            }
            29 => call!(C_DecryptInit(handle, &raw mut mechanism, key)),
            30 => {
                call!(C_Finalize(null_mut()));
                call!(C_Initialize(null_mut()));
            }
            _ => call!(C_WaitForSlotEvent(number, null_mut(), null_mut())),
        }
    }
    call!(C_Finalize(null_mut()));
});
