//! Initialization, fork, threads, `dlclose`, and nonsense.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cardcase::manage::Permission;
use cryptoki_sys::*;

use crate::calls::own_process;
use crate::load::{Module, call, tls13};
use crate::person::Person;

/// In a process with a store of every kind of key.
fn with_keys(test: &str) -> Option<Module> {
    own_process(test, || Person::same().with_every_key(Permission::Any))
}

/// Signs by ECDSA with P-256 in this session.
fn sign(module: &Module, session: CK_SESSION_HANDLE) -> Result<(), CK_RV> {
    let key = module.key(session, "ec-p256");
    module.sign(session, key, CKM_ECDSA_SHA256, &tls13()).map(|signature| assert_eq!(signature.len(), 64))
}

#[test]
fn the_module_is_initialized_once_until_it_is_finalized() {
    let Some(module) = with_keys("lifetime::the_module_is_initialized_once_until_it_is_finalized") else { return };
    assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(call!(module, C_GetInfo(&mut CK_INFO::default())), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(module.initialize(), CKR_OK);
    assert_eq!(module.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    let session = module.session(0);
    assert_eq!(sign(&module, session), Ok(()));
    assert_eq!(module.finalize(), CKR_OK);
    assert_eq!(module.try_find(session, &[]), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
    assert_eq!(module.initialize(), CKR_OK);
    // Neither sessions nor objects have the number of one that is gone
    assert_eq!(module.try_find(session, &[]), Err(CKR_SESSION_HANDLE_INVALID));
    assert_eq!(sign(&module, module.session(0)), Ok(()));

    // NSS passes parameters in a field that is reserved
    module.finalize();
    let mut parameters = *b"configdir=''\0";
    let mut arguments = CK_C_INITIALIZE_ARGS {
        flags: CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS,
        pReserved: parameters.as_mut_ptr().cast(),
        ..Default::default()
    };
    assert_eq!(call!(module, C_Initialize((&raw mut arguments).cast())), CKR_OK);
    module.finalize();
    assert_eq!(call!(module, C_Initialize(null_mut())), CKR_OK);
    module.finalize();
    unsafe extern "C" fn create(_: *mut *mut std::ffi::c_void) -> CK_RV {
        CKR_OK
    }
    arguments.CreateMutex = Some(create);
    assert_eq!(call!(module, C_Initialize((&raw mut arguments).cast())), CKR_ARGUMENTS_BAD);
}

#[test]
fn eight_threads_sign_two_hundred_times_each() {
    let Some(module) = with_keys("lifetime::eight_threads_sign_two_hundred_times_each") else { return };
    module.initialize();
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let session = module.session(0);
                (0..200).for_each(|_| assert_eq!(sign(&module, session), Ok(())));
            });
        }
    });
}

/// Forks, and returns the exit code of the child, which `work` gives; `None` if it took longer than ten seconds.
fn fork(work: impl FnOnce() -> i32) -> Option<i32> {
    match unsafe { libc::fork() } {
        0 => {
            // Whatever hangs is killed
            unsafe { libc::alarm(10) };
            let code = work();
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
        }
    }
}

#[test]
fn a_child_process_has_a_module_of_its_own() {
    let Some(module) = with_keys("lifetime::a_child_process_has_a_module_of_its_own") else { return };
    module.initialize();
    let session = module.session(0);
    assert_eq!(sign(&module, session), Ok(()));
    let code = fork(|| {
        let checks = [
            module.try_session(0) == Err(CKR_CRYPTOKI_NOT_INITIALIZED),
            module.finalize() == CKR_CRYPTOKI_NOT_INITIALIZED,
            module.initialize() == CKR_OK,
            module.try_find(session, &[]) == Err(CKR_SESSION_HANDLE_INVALID),
            sign(&module, module.session(0)) == Ok(()),
            module.finalize() == CKR_OK,
        ];
        checks.iter().position(|holds| !holds).map_or(0, |index| index as i32 + 1)
    });
    assert_eq!(code, Some(0));
    assert_eq!(sign(&module, session), Ok(()));
}

#[test]
fn a_fork_among_threads_that_sign_hangs_nobody() {
    let Some(module) = with_keys("lifetime::a_fork_among_threads_that_sign_hangs_nobody") else { return };
    module.initialize();
    let (is_over, signed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let session = module.session(0);
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(sign(&module, session), Ok(()));
                    signed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 0..30 {
            let before = signed.load(Ordering::Relaxed);
            let code = fork(|| {
                assert_eq!(module.initialize(), CKR_OK);
                sign(&module, module.session(0)).map_or(1, |()| 0)
            });
            assert_eq!(code, Some(0), "fork {number}");
            // The threads go on
            let until = Instant::now() + Duration::from_secs(20);
            while signed.load(Ordering::Relaxed) == before && Instant::now() < until {
                thread::yield_now();
            }
            assert!(signed.load(Ordering::Relaxed) > before, "fork {number}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_module_can_be_closed_and_loaded_fifty_times() {
    let Some(mut module) = with_keys("lifetime::the_module_can_be_closed_and_loaded_fifty_times") else { return };
    let path = std::env::var_os("TEST_MODULE").unwrap();
    for _ in 0..50 {
        assert_eq!(module.initialize(), CKR_OK);
        assert_eq!(sign(&module, module.session(0)), Ok(()));
        assert_eq!(module.finalize(), CKR_OK);
        module.close();
        module = Module::load(path.as_ref());
    }
}

#[test]
fn a_module_can_be_closed_under_a_thread_that_signs() {
    let Some(module) = with_keys("lifetime::a_module_can_be_closed_under_a_thread_that_signs") else { return };
    module.initialize();
    let functions = Arc::new(Module::load(std::env::var_os("TEST_MODULE").unwrap().as_ref()));
    let session = module.session(0);
    let key = module.key(session, "ec-p256");
    let signing = functions.clone();
    let signs = thread::spawn(move || while signing.sign(session, key, CKM_ECDSA_SHA256, &tls13()).is_ok() {});
    module.close();
    thread::sleep(Duration::from_millis(50));
    assert!(!signs.is_finished());
    assert_eq!(functions.finalize(), CKR_OK);
    signs.join().unwrap();
}

#[test]
fn finalizing_while_others_sign_ends_their_sessions_and_nothing_else() {
    let test = "lifetime::finalizing_while_others_sign_ends_their_sessions_and_nothing_else";
    let Some(module) = with_keys(test) else { return };
    for _ in 0..20 {
        module.initialize();
        let key = module.key(module.session(0), "ec-p256");
        thread::scope(|threads| {
            let (signed, first) = mpsc::channel();
            for _ in 0..4 {
                let (module, session, signed) = (&module, module.session(0), signed.clone());
                threads.spawn(move || {
                    let sign = || module.sign(session, key, CKM_ECDSA_SHA256, &tls13()).map(drop);
                    assert_eq!(sign(), Ok(()));
                    signed.send(()).unwrap();
                    let ended = loop {
                        if let Err(code) = sign() {
                            break code;
                        }
                    };
                    assert_eq!(ended, CKR_CRYPTOKI_NOT_INITIALIZED);
                });
            }
            assert_eq!(first.iter().take(4).count(), 4);
            assert_eq!(module.finalize(), CKR_OK);
        });
    }
}

#[test]
fn thirty_two_processes_sign_at_once() {
    let Some(module) = with_keys("lifetime::thirty_two_processes_sign_at_once") else { return };
    let children: Vec<_> = (0..32)
        .map(|_| match unsafe { libc::fork() } {
            0 => {
                unsafe { libc::alarm(60) };
                module.initialize();
                let session = module.session(0);
                let signed = (0..10).all(|_| sign(&module, session).is_ok());
                unsafe { libc::_exit(i32::from(!signed)) }
            }
            child => child,
        })
        .collect();
    for child in children {
        let mut status = 0;
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
}

/// Every function with null pointers and numbers that mean nothing, before and after initialization, and amid a search and a
/// signature. Nothing is signed, and nothing ends the process.
#[test]
fn nonsense_is_refused_at_every_function() {
    let Some(module) = with_keys("lifetime::nonsense_is_refused_at_every_function") else { return };
    for step in ["uninitialized", "initialized", "in a session", "amid everything"] {
        if step == "initialized" {
            module.initialize();
        }
        let session = if step.contains("session") || step.contains("amid") { module.session(0) } else { 0 };
        if step == "amid everything" {
            let key = module.key(session, "ec-p256");
            let mut mechanism = CK_MECHANISM { mechanism: CKM_ECDSA, ..Default::default() };
            assert_eq!(call!(module, C_SignInit(session, &raw mut mechanism, key)), CKR_OK);
            assert_eq!(call!(module, C_FindObjectsInit(session, null_mut(), 0)), CKR_OK);
            mechanism.mechanism = CKM_SHA256;
            assert_eq!(call!(module, C_DigestInit(session, &raw mut mechanism)), CKR_OK);
        }
        for number in [0, 1, 2, 7, CK_UNAVAILABLE_INFORMATION, 1 << 40] {
            for code in nonsense(&module, session, number) {
                assert_ne!(code, CKR_GENERAL_ERROR, "{step}, {number}");
            }
        }
    }
    assert_eq!(sign(&module, module.session(0)), Ok(()));
}

/// Calls everything that takes a pointer with null pointers, or with pointers to a little memory and lengths that are more.
fn nonsense(module: &Module, session: CK_SESSION_HANDLE, number: CK_ULONG) -> Vec<CK_RV> {
    // No room: each call says how much it needs
    let (mut byte, mut lengths) = (0_u8, [0; 4]);
    let [length, second, third, fourth] = &mut lengths;
    let mut mechanism = CK_MECHANISM { mechanism: number, pParameter: null_mut(), ulParameterLen: number };
    let mut attribute = CK_ATTRIBUTE { type_: number, pValue: null_mut(), ulValueLen: number };
    let none: *mut CK_BYTE = null_mut();
    vec![
        call!(module, C_GetFunctionList(null_mut())),
        call!(module, C_GetInfo(null_mut())),
        call!(module, C_GetSlotList(1, null_mut(), null_mut())),
        call!(module, C_GetSlotInfo(number, null_mut())),
        call!(module, C_GetTokenInfo(number, null_mut())),
        call!(module, C_GetMechanismList(number, null_mut(), null_mut())),
        call!(module, C_GetMechanismInfo(number, number, null_mut())),
        call!(module, C_InitToken(number, none, number, none)),
        call!(module, C_InitPIN(session, none, number)),
        call!(module, C_SetPIN(session, none, number, none, number)),
        call!(module, C_OpenSession(number, number, null_mut(), None, null_mut())),
        call!(module, C_CloseSession(number | 1 << 50)),
        call!(module, C_CloseAllSessions(number | 1 << 50)),
        call!(module, C_GetSessionInfo(session, null_mut())),
        call!(module, C_GetSessionInfo(number, null_mut())),
        call!(module, C_GetOperationState(session, none, null_mut())),
        call!(module, C_SetOperationState(session, none, number, number, number)),
        call!(module, C_Login(session, number, none, number)),
        call!(module, C_CreateObject(session, null_mut(), number, null_mut())),
        call!(module, C_CopyObject(session, number, null_mut(), number, null_mut())),
        call!(module, C_DestroyObject(session, number)),
        call!(module, C_GetObjectSize(session, number, null_mut())),
        call!(module, C_GetAttributeValue(session, number, null_mut(), number)),
        call!(module, C_GetAttributeValue(session, number, &raw mut attribute, 1)),
        call!(module, C_SetAttributeValue(session, number, null_mut(), number)),
        call!(module, C_FindObjects(session, null_mut(), number, null_mut())),
        call!(module, C_FindObjectsInit(session, &raw mut attribute, 1)),
        call!(module, C_FindObjectsInit(number | 1 << 50, null_mut(), number)),
        call!(module, C_SignInit(session, &raw mut mechanism, number)),
        call!(module, C_Sign(session, none, number, none, null_mut())),
        call!(module, C_Sign(session, none, number, &raw mut byte, length)),
        call!(module, C_SignUpdate(session, none, number)),
        call!(module, C_SignFinal(session, none, null_mut())),
        call!(module, C_SignFinal(session, &raw mut byte, second)),
        call!(module, C_DigestInit(session, null_mut())),
        call!(module, C_DigestInit(session, &raw mut mechanism)),
        call!(module, C_Digest(session, none, number, none, null_mut())),
        call!(module, C_DigestUpdate(session, none, number)),
        call!(module, C_DigestKey(session, number)),
        call!(module, C_DigestFinal(session, none, null_mut())),
        call!(module, C_Digest(session, none, 0, &raw mut byte, third)),
        call!(module, C_DigestFinal(session, &raw mut byte, fourth)),
        call!(module, C_DecryptInit(session, &raw mut mechanism, number)),
        call!(module, C_VerifyInit(session, &raw mut mechanism, number)),
        call!(module, C_GenerateRandom(session, none, number)),
        call!(module, C_WrapKey(session, null_mut(), number, number, none, null_mut())),
        call!(module, C_WaitForSlotEvent(CKF_DONT_BLOCK, null_mut(), null_mut())),
        call!(module, C_WaitForSlotEvent(0, null_mut(), null_mut())),
        call!(module, C_GetFunctionStatus(session)),
        call!(module, C_CancelFunction(session)),
    ]
}
